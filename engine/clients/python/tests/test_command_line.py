"""`python -m gridcast`, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys

from server import Server
from waiting import within


async def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    """Exit code, output and complaints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gridcast", *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaints = await within(process.communicate(text.encode()))
    return process.returncode or 0, out.decode(), complaints.decode()


async def test_what_is_published_is_printed(server: Server) -> None:
    code, out, _ = await run("pub", "t/1", "one", "two", "--url", server.url)
    assert code == 0
    assert [line.partition("\t")[2] for line in out.splitlines()] == ["0", "0"]
    code, out, _ = await run("pub", "t/1", "--url", server.url, text="three\nfour")
    assert [line.split("-")[1] for line in out.splitlines()] == ["3\t0", "4\t0"]
    sub = ("sub", "t/1", "--from", "oldest", "--count", "4", "--url", server.url)
    code, out, _ = await run(*sub)
    assert (code, out) == (0, "t/1\tone\nt/1\ttwo\nt/1\tthree\nt/1\tfour\n")
    server.post("t/1", b"\xff")
    code, out, _ = await run(
        "sub", "t/1", "--from", "last", "--count=1", "--json", "--url", server.url
    )
    told = json.loads(out)
    assert (told["topic"], told["data64"]) == ("t/1", "/w==")


async def test_refusals_are_told(server: Server) -> None:
    code, out, complaints = await run("sub", "a//b", "--url", server.url)
    assert (code, out) == (1, "")
    assert complaints.startswith("gridcast: bad_request: ")
    code, _, complaints = await run("pub", "t", "x", "--url", "ftp://nowhere")
    assert (code, "ws://host:port" in complaints) == (1, True)
    assert (await run("sub"))[0] == 2
