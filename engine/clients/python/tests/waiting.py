"""How tests wait: for events, with deadlines. Must not know what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gridcast import Item, Message, State, Subscription

# How long anything may take before a test gives up: far more than it ever should.
DEADLINE_S = 60.0
# Between two looks at what gives no event, such as another process.
_POLL_S = 0.005

T = TypeVar("T")
K = TypeVar("K", bound=Item)


async def within(awaitable: Awaitable[T]) -> T:
    """What comes of it, if it comes in time."""
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


async def until(holds: Callable[[], Any], what: str) -> None:
    """Waits for a condition outside of this program."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(holds):
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None


async def item(subscription: Subscription) -> Item:
    """The next item of a subscription."""
    return await within(anext(subscription))


async def an(kind: type[K], subscription: Subscription) -> K:
    """The next item, which has to be of this kind."""
    got = await item(subscription)
    assert isinstance(got, kind), f"{got} where {kind.__name__} was expected"
    return got


async def data(subscription: Subscription, count: int) -> list[str | bytes]:
    """The data of the next messages, between which nothing else may come."""
    got: list[str | bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(got) < count:
            told = await anext(subscription)
            assert isinstance(told, Message), f"{told} where a message was expected"
            got.append(told.data)
    return got


class States:
    """The states of a client, to be waited for."""

    def __init__(self) -> None:
        self.seen: list[State] = []
        self._changed = asyncio.Event()

    def __call__(self, state: State) -> None:
        self.seen.append(state)
        self._changed.set()

    def count(self, phase: str) -> int:
        return sum(state.phase == phase for state in self.seen)

    async def reached(self, phase: str, times: int = 1) -> State:
        """Waits until it was in this phase so often; answers the last of these."""
        async with asyncio.timeout(DEADLINE_S):
            while self.count(phase) < times:
                self._changed.clear()
                await self._changed.wait()
        return [state for state in self.seen if state.phase == phase][times - 1]
