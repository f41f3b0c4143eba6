"""engine/api/asyncapi.yaml as something to judge messages by: which message one is, and which of
them a channel has. Must not open a socket."""

import json
from pathlib import Path

import yaml
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

BASE = "urn:gridcast:asyncapi"


class Unfit(Exception):
    """A message that the description does not have."""


class Description:
    """The document, and the messages of it that were seen."""

    def __init__(self, path):
        self.document = yaml.safe_load(Path(path).read_text())
        resource = DRAFT7.create_resource(self.document)
        self.registry = Registry().with_resource(BASE, resource)
        self.seen = set()

    def close_codes(self):
        """The rows of the table, each as words."""
        rows = self.document["info"]["x-close-codes"]
        return [[str(row["code"]), row["reconnect"], row["reason"]] for row in rows]

    def sent_by_server(self, channel):
        """The names of the messages that clients of a channel get."""
        operations = self.document["operations"].values()
        here = [one for one in operations if one["channel"]["$ref"] == f"#/channels/{channel}"]
        sent = [ref for one in here if one["action"] == "send" for ref in one["messages"]]
        replies = [ref for one in here if "reply" in one for ref in one["reply"]["messages"]]
        return {ref["$ref"].rpartition("/")[2] for ref in sent + replies}

    def examples(self, name):
        return [one["payload"] for one in self._message(name).get("examples", [])]

    def name_of(self, channel, text):
        """Which message of the server a JSON text is: exactly one must fit."""
        value = json.loads(text)
        names = [name for name in self.sent_by_server(channel) if self._is_json(name)]
        fitting = [name for name in sorted(names) if self._validator(name).is_valid(value)]
        if len(fitting) != 1:
            raise Unfit(f"{channel}: {text} fits {fitting or 'no message'}")
        self.saw(channel, fitting[0])
        return fitting[0]

    def check_command(self, name, command):
        """That a command is one: what a client sends has to fit as well."""
        if error := next(self._validator(name).iter_errors(command), None):
            raise Unfit(f"{name}: {command}: {error.message}")

    def saw(self, channel, name):
        self.seen.add((channel, name))

    def unseen(self):
        """Messages of the server that no check has had."""
        known = {(channel, name) for channel in self.document["channels"]
                 for name in self.sent_by_server(channel)}
        return sorted("/".join(pair) for pair in known - self.seen)

    def _message(self, name):
        return self.document["components"]["messages"][name]

    def _is_json(self, name):
        return "contentType" not in self._message(name)

    def _validator(self, name):
        pointer = f"{BASE}#/components/messages/{name}/payload"
        return Draft7Validator({"$ref": pointer}, registry=self.registry)
