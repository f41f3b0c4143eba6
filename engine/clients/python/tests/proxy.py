"""A network between client and server that can fail: cut, silent, or silent in one direction. Must
not know what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from server import free_port


class Proxy:
    """Passes TCP connections on to a port."""

    def __init__(self, target: int, *, is_narrow: bool = False) -> None:
        # Narrow, the kernel takes little for it while it holds.
        self._target, self._is_narrow, self.port = target, is_narrow, free_port()
        self._flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._writers: list[asyncio.StreamWriter] = []
        self._listener: asyncio.Server | None = None
        # Between two pieces of what it passes on, when it is a slow link.
        self.slow_s = 0.0
        self._left: int | None = None
        # Whether something is held back on its way to the server.
        self.has_read_up = False
        self.connections = 0
        self.bytes = {"up": 0, "down": 0}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Proxy:
        self.flow()
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()
        self.flow()
        self.cut()
        await asyncio.gather(*self._tasks)

    async def open(self) -> None:
        """Takes connections, again."""
        self._listener = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Refuses connections; those there are stay."""
        if self._listener is not None:
            self._listener.close()

    def hold(self, *directions: str) -> None:
        """Passes nothing on, and tells nobody: `up` is to the server, `down` from it."""
        for direction in directions or ("up", "down"):
            self._flows[direction].clear()

    def flow(self) -> None:
        """Passes on what was held, and all that comes."""
        for flows in self._flows.values():
            flows.set()

    def cut(self) -> None:
        """Resets all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def cut_after(self, count: int) -> None:
        """Resets all connections once so many more bytes came from the server."""
        self._left = count

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
        try:
            there, back = await asyncio.open_connection(sock=await self._connected())
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, back]
        await asyncio.gather(self._pump("up", reader, back), self._pump("down", there, writer))

    async def _connected(self) -> socket.socket:
        there = socket.socket()
        there.setblocking(False)
        if self._is_narrow:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(there, ("127.0.0.1", self._target))
        except OSError:
            there.close()
            raise
        return there

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.has_read_up |= direction == "up" and not self._flows["up"].is_set()
                await self._flows[direction].wait()
                if self.slow_s:
                    await asyncio.sleep(self.slow_s)
                if direction == "down" and self._left is not None:
                    data, is_last = data[: self._left], len(data) >= self._left
                    self._left = None if is_last else self._left - len(data)
                    if is_last:
                        writer.write(data)
                        await writer.drain()
                        self.cut()
                        return
                writer.write(data)
                self.bytes[direction] += len(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
