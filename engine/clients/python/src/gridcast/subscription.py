"""The handle of a subscription: what the program iterates and closes. Must not know sessions."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from types import TracebackType

from gridcast.errors import ClosedError
from gridcast.feed import Feed
from gridcast.items import Item, Position


class Subscription:
    """An asynchronous iterator of items. It is given up by `close`, by leaving an `async with`, and
    when nobody holds it any more, as after a `break` out of `async for`."""

    def __init__(self, feed: Feed, leave: Callable[[Feed], None]) -> None:
        self._feed, self._leave = feed, leave
        loop = asyncio.get_running_loop()
        # The collector may run in another thread.
        forgotten = weakref.finalize(self, _forgotten, loop, leave, feed)
        forgotten.atexit = False

    @property
    def topic(self) -> str:
        """The topic or pattern."""
        return self._feed.target

    @property
    def position(self) -> Position | None:
        """Behind what was received last, which may still be waiting in the queue."""
        return self._feed.position

    @property
    def queued(self) -> int:
        """How many items wait to be taken."""
        return len(self._feed.inbox)

    async def ready(self) -> Position:
        """Waits until the server has it; answers the position before the first message."""
        return await asyncio.shield(self._feed.ready)

    async def close(self) -> None:
        """Gives it up. What waits is thrown away."""
        self._leave(self._feed)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self._feed.inbox.take()
        except ClosedError:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _forgotten(loop: asyncio.AbstractEventLoop, leave: Callable[[Feed], None], feed: Feed) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(leave, feed)
