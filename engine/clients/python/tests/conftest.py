"""What tests are given: servers that end with them. Must not hold tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio
from server import PROGRAM, Server

Start: TypeAlias = Callable[..., Awaitable[Server]]


def pytest_sessionstart() -> None:
    if not PROGRAM.exists():
        pytest.exit(f"there is no server at {PROGRAM}: build it, or name one in GRIDCAST", 2)


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers, with settings as `section__key=value`."""
    servers: list[Server] = []

    async def start(**settings: object) -> Server:
        servers.append(Server(tmp_path, **settings))
        return await servers[-1].start()

    yield start
    await asyncio.gather(*(server.end() for server in servers))


@pytest_asyncio.fixture
async def server(start: Start) -> Server:
    """A server with the default settings."""
    return await start()


@pytest.fixture(params=["bin", "json"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Both subprotocols, one after the other."""
    return str(request.param)
