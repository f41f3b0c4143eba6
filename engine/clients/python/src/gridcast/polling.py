"""Long polling: one plain request after the other, each from where the answer before ended. For
where a proxy lets nothing else through. Must not send requests itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gridcast import options, wire
from gridcast.backoff import Backoff
from gridcast.clock import Clock
from gridcast.errors import HttpError
from gridcast.history import Record, When, item, when
from gridcast.http import TIMEOUT_S, Http
from gridcast.items import Gap

# The request itself is given up after this, and an answer takes its time.
WAIT_S_MAX = TIMEOUT_S - 10.0
# What passes by itself: no answer, too slow, too often, not ready, a server that failed.
_PASSING = (0, 408, 429, 500, 502, 503, 504)


async def polled(
    http: Callable[[], Awaitable[Http]],
    target: str,
    from_: When,
    wait_s: float,
    retries: tuple[Clock, Callable[[], Backoff], bool],
) -> AsyncIterator[Record | Gap]:
    """What comes, for as long as it is asked for; raises `HttpError` where that is refused."""
    options.text("target", target)
    if not 0.1 <= wait_s <= WAIT_S_MAX:
        raise ValueError(f"wait_s={wait_s!r}: 0.1 to {WAIT_S_MAX:g} s are possible")
    clock, new_backoff, may_change_token = retries
    # Where it begins is known at once, whenever the first message comes.
    begin, wait_ms, backoff, was_refused = when("from_", from_), 0, new_backoff(), False
    while True:
        query = {"from": begin, "wait": str(wait_ms), "format": "ndjson"}
        try:
            lines = await asyncio.to_thread((await http()).poll, target, query)
        except HttpError as error:
            is_about_token = error.status == 401 and may_change_token and not was_refused
            if not is_about_token and error.status not in _PASSING:
                raise
            was_refused = error.status == 401
            delay_s = 0.0 if was_refused else backoff.jitter_s()
            await clock.sleep((error.retry_after_s or 0.0) + delay_s)
            continue
        *page, (last, _) = [wire.members(line) for line in lines]
        begin, wait_ms = last["end"]["next"], round(1000 * wait_s)
        backoff, was_refused = new_backoff(), False
        for told, raw in page:
            yield item(target, told, raw, begin.partition("-")[0])
