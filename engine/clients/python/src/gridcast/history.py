"""What was published before, page after page until it is complete. Owns what a line of a page
means. Must not send requests itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from gridcast import options, wire
from gridcast.errors import HttpError
from gridcast.http import Http
from gridcast.items import Gap, Message, Position

When: TypeAlias = str | int | Position | datetime


@dataclass(frozen=True, slots=True)
class Record:
    """A message of the past, and when it came."""

    message: Message
    time_ms: int
    """Milliseconds of UTC since 1970, by the server's clock."""


async def records(
    http: Http, topic: str, from_: When, to: When | None, page: int
) -> AsyncIterator[Record | Gap]:
    """All that was asked for; raises `HttpError` where an answer ends before its end."""
    query = {"from": when("from_", from_), "limit": str(_page(page)), "format": "ndjson"}
    if to is not None:
        query["to"] = when("to", to)
    options.text("topic", topic)
    while True:
        page_ = [wire.members(line) for line in await asyncio.to_thread(http.history, topic, query)]
        end: dict[str, Any] | None = page_.pop()[0].get("end") if page_ else None
        epoch = str((end or {}).get("next", "")).partition("-")[0]
        for told, raw in page_:
            yield item(topic, told, raw, epoch)
        if _checked(end, query["from"])["complete"]:
            return
        query["from"] = _checked(end, query["from"])["next"]


def item(topic: str, told: dict[str, Any], raw: str, epoch: str) -> Record | Gap:
    """What a line says: a message, or that some are missing."""
    if "gap" in told:
        gap = told["gap"]
        return Gap(topic, epoch, gap["from"], gap["to"], gap.get("frames"), gap["reason"])
    data, pattern = wire.text_data(told, raw), told.get("pattern")
    message = Message(told["topic"], data, told["seq"], told["epoch"], pattern)
    return Record(message, told["time_ms"])


def _checked(end: dict[str, Any] | None, began: str) -> dict[str, Any]:
    """The end of a page that leads further, or is the last."""
    if end is None:
        raise HttpError(0, "cut_off", "the answer ended before its end")
    if "error" in end:
        raise HttpError(0, "store", f"{end['error']}; go on from {end.get('next')}")
    if not end["complete"] and end.get("next") in (None, began):
        raise HttpError(0, "stuck", f"the answer does not lead on from {began}")
    return end


def when(name: str, instant: When) -> str:
    """A place in the past, as a request says it."""
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise ValueError(f"{name}: a time needs a time zone, as in datetime.now(timezone.utc)")
        return instant.isoformat()
    return str(instant)


def _page(page: int) -> int:
    if isinstance(page, bool) or not isinstance(page, int) or not 1 <= page <= 1_000_000:
        raise ValueError(f"page={page!r}: 1 to 1000000 is possible")
    return page
