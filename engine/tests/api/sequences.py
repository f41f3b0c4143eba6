"""Bodies that are sequences of lines, for schemathesis: what it sends and what it reads as
application/x-ndjson. Must not judge them: the schemas of engine/api/openapi.yaml do."""

import json

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def write(_context, value):
    """A list is sent as its lines; anything else, which is wrong on purpose, as one line."""
    if isinstance(value, bytes):
        return {"data": value}
    lines = value if isinstance(value, list) else [value]
    return {"data": "".join(json.dumps(line) + "\n" for line in lines).encode()}


@schemathesis.deserializer(NDJSON)
def read(_context, response):
    """The lines, each of which is complete and JSON."""
    *lines, rest = response.content.decode().split("\n")
    if rest:
        raise ValueError("the last line has no end")
    return [json.loads(line) for line in lines]
