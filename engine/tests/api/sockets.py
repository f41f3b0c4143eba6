"""Holds the messages of a running engine against engine/api/asyncapi.yaml, for scripts/describe.

Usage: sockets.py ASYNCAPI ADDRESS:PORT CLOSE-CODES

The engine must keep two frames of a topic, beat every 100 ms and offer echo; CLOSE-CODES is a file
with what `gridcast close-codes` prints. Every message of the server that the description has must
come, every one that comes must fit exactly one of them, and every example of a command must be
carried out. Must not start or configure an engine.
"""

import json
import sys
from pathlib import Path

from websockets.frames import Opcode

from client import Socket
from description import Description, Unfit

JSON, BINARY = "gridcast.v1.json", "gridcast.v1.bin"


def main():
    path, address, table = sys.argv[1:]
    description = Description(path)
    failed = False
    for check in CHECKS:
        failed |= not passes(check, description, address)
    failed |= not passes(close_codes, description, Path(table).read_text())
    failed |= not passes(complete, description, address)
    sys.exit(1 if failed else 0)


def passes(check, description, subject):
    what = check.__doc__.splitlines()[0]
    try:
        check(description, subject)
    except (Unfit, OSError, ValueError, KeyError) as error:
        print(f"asyncapi FAILED {what} ({error or type(error).__name__})")
        return False
    print(f"asyncapi ok     {what}")
    return True


def expect(description, client, *names):
    """The next messages of the multiplexed socket, in this order; the last of them."""
    for name in names:
        text = client.next_text()
        if (found := description.name_of("multiplexed", text)) != name:
            raise Unfit(f"{found} instead of {name}: {text}")
    return json.loads(text)


# The checks.

def commands(description, address):
    """examples of commands are carried out"""
    client = Socket(address, "/v1/ws", JSON)
    for name, answer in (("subscribe", "subscribed"), ("unsubscribe", "unsubscribed"),
                         ("publish", "published")):
        for example in description.examples(name):
            description.check_command(name, example)
            client.send({**example, "id": 7})
            expect(description, client, answer)


def data(description, address):
    """messages of topics and patterns in JSON"""
    client = Socket(address, "/v1/ws", JSON)
    client.send({"id": "s", "subscribe": {"topic": "data/#"}})
    client.send({"subscribe": {"topic": "data/1", "ack": True}})
    expect(description, client, "subscribed", "subscribed")
    for body in ({"data": {"v": 1}}, {"data": "plain", "text": True}, {"data64": "AP8="}):
        client.send({"publish": {"topic": "data/1", **body}})
        both = [expect(description, client, "data") for _ in range(2)]
        if sorted(one.get("pattern", "") for one in both) != ["", "data/#"]:
            raise Unfit(f"{both} instead of one for each subscription")


def errors(description, address):
    """errors of commands"""
    client = Socket(address, "/v1/ws")
    client.send({"id": 1, "subscribe": {"topic": "errors"}})
    expect(description, client, "subscribed")
    for code, command in (
        ("already_subscribed", {"id": 2, "subscribe": {"topic": "errors"}}),
        ("not_subscribed", {"id": 3, "unsubscribe": {"topic": "other"}}),
        ("bad_request", {"subscribe": {"topic": "a", "form": "last"}}),
        ("forbidden", {"id": "x", "publish": {"topic": "$sys/x", "data": 1}}),
        ("bad_request", "not JSON"),
    ):
        client.send(command)
        if (error := expect(description, client, "error"))["error"]["code"] != code:
            raise Unfit(f"{error} instead of {code}")


def binary(description, address):
    """messages of topics and patterns in binary"""
    client = Socket(address, "/v1/ws", BINARY)
    client.send({"id": 1, "subscribe": {"topic": "binary/+"}})
    if "feed" not in expect(description, client, "subscribed")["subscribed"]:
        raise Unfit("subscribed without the number of its feed")
    client.send({"publish": {"topic": "binary/1", "data64": "AP8="}})
    number = expect(description, client, "announcement")["feed"]
    opcode, message = client.next_frame()
    feed, rest = varint(message)
    seq, rest = varint(rest)
    if (opcode, feed, seq, rest) != (Opcode.BINARY, number, 1, b"\0\0\xff"):
        raise Unfit(f"{opcode.name} {message!r}")
    description.saw("multiplexed", "binaryData")


def varint(message):
    """An unsigned LEB128 number, and what follows it."""
    end = next(at for at, byte in enumerate(message) if not byte & 0x80) + 1
    digits = enumerate(message[:end])
    return sum((byte & 0x7F) << 7 * at for at, byte in digits), message[end:]


def gaps(description, address):
    """gaps of a socket of many topics and of a feed"""
    client = Socket(address, "/v1/ws", JSON)
    for number in range(4):
        client.send({"id": number, "publish": {"topic": "gaps", "data": number}})
        first = expect(description, client, "published")["published"]
    position = f"{first['epoch']}-1"
    client.send({"id": 9, "subscribe": {"topic": "gaps", "from": position}})
    expect(description, client, "subscribed", "gap", "data", "data")
    feed = Socket(address, f"/v1/feed/gaps?from={position}&lag=skip-to-oldest")
    opcode, notice = feed.next_frame()
    if opcode is not Opcode.PING:
        raise Unfit(f"{opcode.name} {notice!r} instead of a ping")
    description.name_of("feed", notice)


def greeting(description, address):
    """the greeting and a beat, with either subprotocol"""
    for subprotocol in (JSON, BINARY):
        client = Socket(address, "/v1/ws?hello=1", subprotocol)
        expect(description, client, "hello", "beat", "beat")


def raw(description, address):
    """payloads of publishing sockets come out of feeds as they went in"""
    publisher = Socket(address, "/v1/publish/raw")
    publisher.send("one")
    publisher.send(b"\0\xff")
    follow = Socket(address, "/v1/feed/raw?from=latest")
    wait = Socket(address, "/v1/feed/raw?from=oldest")
    frames = [wait.next_frame(), wait.next_frame()]
    if frames != [(Opcode.TEXT, b"one"), (Opcode.BINARY, b"\0\xff")]:
        raise Unfit(str(frames))
    publisher.send("two")
    # Whether it saw the others depends on when it came; it sees the last for sure.
    while follow.next_frame() != (Opcode.TEXT, b"two"):
        pass
    description.saw("feed", "payload")


def echo(description, address):
    """messages come back"""
    client = Socket(address, "/v1/echo")
    client.send("hello")
    if (frame := client.next_frame()) != (Opcode.TEXT, b"hello"):
        raise Unfit(str(frame))
    description.saw("echo", "payload")


def close_codes(description, table):
    """the close codes are those of the engine"""
    rows = [line.split(maxsplit=2) for line in table.splitlines()[1:]]
    if rows != description.close_codes():
        raise Unfit(f"{rows} and not {description.close_codes()}")


def complete(description, _):
    """no message of the server was left out"""
    if unseen := description.unseen():
        raise Unfit(f"not seen: {', '.join(unseen)}")


CHECKS = [commands, data, errors, binary, gaps, greeting, raw, echo]


if __name__ == "__main__":
    main()
