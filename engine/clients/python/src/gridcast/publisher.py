"""Publishing with replies, over connections that may end. Owns what is said of a message whose
reply never came. Must not connect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gridcast.errors import ClosedError, GridcastError, MaybePublishedError, NotConnectedError
from gridcast.items import Published
from gridcast.session import Attempt, Session


class Publisher:
    """Has so many messages in flight at most; others wait for their turn."""

    def __init__(self, standing: Callable[[], Awaitable[Session]], in_flight_max: int) -> None:
        self._standing = standing
        self._turns = asyncio.Semaphore(in_flight_max)

    async def publish(
        self, topic: str, payload: str, *, retry: bool, timeout_s: float
    ) -> Published:
        """Publishes once, or with `retry` until there is a reply."""
        attempts: list[Attempt] = []
        try:
            async with asyncio.timeout(timeout_s), self._turns:
                return await self._until_replied(topic, payload, attempts, retry)
        except TimeoutError:
            if any(attempt.was_sent for attempt in attempts):
                raise MaybePublishedError("timeout", f"no reply within {timeout_s:g} s") from None
            raise NotConnectedError(
                f"not published: no connection could take it within {timeout_s:g} s"
            ) from None
        finally:
            for attempt in attempts:
                attempt.reply.cancel()

    async def _until_replied(
        self, topic: str, payload: str, attempts: list[Attempt], retry: bool
    ) -> Published:
        while True:
            session = await self._next_session(attempts)
            attempts[:] = [attempt for attempt in attempts if attempt.was_sent][:1]
            attempts.append(attempt := session.publish(topic, payload))
            published = await attempt.reply
            if published is not None:
                return published
            if attempt.was_sent and not retry:
                raise _lost()

    async def _next_session(self, attempts: list[Attempt]) -> Session:
        try:
            return await self._standing()
        except (ClosedError, GridcastError):
            if any(attempt.was_sent for attempt in attempts):
                raise _lost() from None
            raise


def _lost() -> MaybePublishedError:
    return MaybePublishedError("connection_lost", "the connection ended before the reply")
