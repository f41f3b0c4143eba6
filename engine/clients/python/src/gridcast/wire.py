"""The bytes of gridcast.v1.bin and gridcast.v1.json, as docs/protocol.md has them: commands to
write, envelopes to read. Must not know connections or subscriptions."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from gridcast.errors import WireError

BIN, JSON = "gridcast.v1.bin", "gridcast.v1.json"

_SPACE = re.compile(r"[ \t\r\n]*")
_read_value = json.JSONDecoder().raw_decode
# A 64-bit number takes ten bytes of seven bits.
_VARINT_BYTES_MAX = 10


def command(number: int, word: str, fields: dict[str, Any]) -> str:
    """A command as it is sent."""
    return as_json({"id": number, word: fields})


def publish(number: int, topic: str, payload: str) -> str:
    """The command to publish what `payload` wrote."""
    return f'{{"id":{number},"publish":{{"topic":{as_json(topic)},{payload}}}}}'


def payload(data: object) -> str:
    """The members that say what to publish: bytes as they are, text as text, all else as JSON."""
    if isinstance(data, bytes | bytearray | memoryview):
        return f'"data64":"{base64.b64encode(data).decode("ascii")}"'
    if isinstance(data, str):
        return f'"data":{as_json(data)},"text":true'
    return f'"data":{as_json(data)}'


def as_json(data: object) -> str:
    """The JSON text of a value; what JSON has no form for is refused."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not to be written as JSON: {error}") from None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"not Unicode text: {error}") from None
    return text


def members(text: str) -> tuple[dict[str, Any], str]:
    """The members of a JSON object, and what stands for `data` as it stands there: space around it
    was published as well."""
    found, raw, at = {}, "", _space(text, _after(text, 0, "{"))
    while text[at : at + 1] != "}":
        name, at = _value(text, at)
        start = _after(text, at, ":")
        found[name], at = _value(text, _space(text, start))
        at = _space(text, at)
        if name == "data":
            raw = text[start:at]
        if text[at : at + 1] == ",":
            at = _space(text, at + 1)
    return found, raw


def text_data(found: dict[str, Any], raw: str) -> str | bytes:
    """What was published, from an envelope in JSON."""
    if "data64" in found:
        return _bytes64(found["data64"])
    data = found.get("data")
    if found.get("text") is True and isinstance(data, str):
        return data
    if not raw:
        raise WireError(f"an envelope without data: {str(found)[:200]}")
    return raw


def _bytes64(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise WireError(f"data64 is not base64: {error}") from None


def binary(message: bytes) -> tuple[int, int, str | bytes]:
    """Feed, position and data of a binary envelope."""
    try:
        feed, at = varint(message, 0)
        seq, at = varint(message, at)
        is_text = message[at] & 1
        data = message[at + 1 :]
        return feed, seq, data.decode() if is_text else data
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"not an envelope of {BIN}: {error}") from None


def varint(message: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = 0
    for place in range(_VARINT_BYTES_MAX):
        byte = message[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise WireError("a number longer than 64 bits")


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _read_value(text, at)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}: {text[:200]}") from None


def _after(text: str, at: int, mark: str) -> int:
    at = _space(text, at)
    if text[at : at + 1] != mark:
        raise WireError(f"not JSON: no `{mark}` at character {at}: {text[:200]}")
    return at + 1


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
