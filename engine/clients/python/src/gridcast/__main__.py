"""`gridcast-client`, or `python -m gridcast`: following and publishing from a shell. Must not do
what the client cannot.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TextIO

from gridcast.client import Client
from gridcast.errors import GridcastError
from gridcast.items import Item, Message

_URL = "ws://127.0.0.1:9400"


def main() -> None:
    """Runs the command line of this process."""
    arguments = _parser().parse_args()
    logging.basicConfig(format="gridcast: %(message)s", level=logging.WARNING)
    try:
        asyncio.run(arguments.run(arguments))
    except (GridcastError, ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # Whoever read the output has enough; Python must not complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        _say(f"gridcast: {error}", sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridcast-client", description="Follows and publishes topics."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_sub(commands)
    _add_pub(commands)
    return parser


def _add_sub(commands: Any) -> None:
    sub = commands.add_parser("sub", help="print what is published, a line each")
    sub.set_defaults(run=_sub)
    sub.add_argument("pattern", help="a topic or pattern, as in pmu/+/freq or pmu/#")
    sub.add_argument("--from", dest="from_", default="latest", metavar="WHERE",
                     help="latest (default), last, oldest or {epoch}-{seq}")  # fmt: skip
    sub.add_argument("--mode", default="lossless", choices=["lossless", "latest"])
    sub.add_argument("--rate", type=int, help="frames a second of each topic, at most")
    sub.add_argument("--lag", choices=["disconnect", "skip-to-oldest", "skip-to-latest"],
                     help="what the server does when this program falls behind")  # fmt: skip
    sub.add_argument("--count", type=int, help="end after so many messages")
    sub.add_argument("--json", action="store_true", help="print objects, with positions")
    _add_connection(sub)


def _add_pub(commands: Any) -> None:
    pub = commands.add_parser("pub", help="publish texts, or each line of the standard input")
    pub.set_defaults(run=_pub)
    pub.add_argument("topic")
    pub.add_argument("text", nargs="*", help="a message each")
    pub.add_argument("--retry", action="store_true",
                     help="send again what got no reply: subscribers may get it twice")  # fmt: skip
    _add_connection(pub)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=_URL, help=f"the server; default {_URL}")
    parser.add_argument("--token-file", type=Path,
                        help="a file with the token, read for each connection")  # fmt: skip


def _client(arguments: argparse.Namespace) -> Client:
    path = arguments.token_file
    return Client(arguments.url, token=None if path is None else lambda: path.read_text().strip())


async def _sub(arguments: argparse.Namespace) -> None:
    chosen = {name: getattr(arguments, name) for name in ("from_", "mode", "rate", "lag")}
    left = arguments.count
    async with _client(arguments) as client:
        async for item in client.subscribe(arguments.pattern, **chosen, overflow=_overflow(chosen)):
            is_message = isinstance(item, Message)
            text = _object(item) if arguments.json else _line(item)
            # Notices must not be taken for messages.
            out = sys.stdout if is_message or arguments.json else sys.stderr
            _say(text, out)
            left = left - 1 if is_message and left is not None else left
            if left == 0:
                return


def _overflow(chosen: dict[str, Any]) -> Any:
    """A pipe that is read slowly loses nothing while the server keeps it."""
    return "drop" if chosen["mode"] == "latest" else "pause"


def _line(item: Item) -> str:
    if not isinstance(item, Message):
        return f"gridcast: {item}"
    text = item.data if isinstance(item.data, str) else base64.b64encode(item.data).decode()
    return f"{item.topic}\t{text}"


def _object(item: Item) -> str:
    if not isinstance(item, Message):
        kind = type(item).__name__.lower()
        fields = {name: getattr(item, name) for name in item.__slots__}
        return json.dumps({kind: fields}, default=str)
    fields = {"topic": item.topic, "position": str(item.position)}
    if isinstance(item.data, str):
        return json.dumps({**fields, "data": item.data}, ensure_ascii=False)
    return json.dumps({**fields, "data64": base64.b64encode(item.data).decode()})


async def _pub(arguments: argparse.Namespace) -> None:
    async with _client(arguments) as client:
        async for text in _texts(arguments.text):
            published = await client.publish(arguments.topic, text, retry=arguments.retry)
            line = f"{published.position}\t{published.subscribers}"
            _say(line, sys.stdout)


async def _texts(given: list[str]) -> AsyncIterator[str]:
    for text in given:
        yield text
    while not given and (line := await asyncio.to_thread(sys.stdin.readline)):
        yield line.removesuffix("\n")


def _say(line: str, out: TextIO) -> None:
    out.write(f"{line}\n")
    out.flush()


if __name__ == "__main__":
    main()
