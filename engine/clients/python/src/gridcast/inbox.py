"""The bounded queue between the socket and the program. Owns what is given up when it is full, and
that this is told. Must not know the wire."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable

from gridcast.items import Gap, Item, Message, Restarted, Resumed

QUEUE, CONFLATED = "queue", "conflated"


class Inbox:
    """Items in order. With `conflates`, of each topic only the newest message waits.

    `pauses` is called when it is full, and `goes_on` when half of it is free again. Without them
    the oldest items make room, and a gap tells it.
    """

    def __init__(
        self,
        size_max: int,
        *,
        conflates: bool = False,
        pauses: Callable[[], None] | None = None,
        goes_on: Callable[[], None] | None = None,
    ) -> None:
        self._size_max, self._conflates = size_max, conflates
        self._pauses, self._goes_on = pauses, goes_on
        self._items: OrderedDict[str | int, Item] = OrderedDict()
        self._numbers = itertools.count()
        # What was given up since the last item was taken: told before all that waits.
        self._restarted: Restarted | None = None
        self._lost: Gap | None = None
        # What the server jumped over behind all that waits.
        self._jumped: Gap | None = None
        self._is_paused = False
        self._end: Exception | None = None
        self._has_news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, target: str) -> None:
        """Takes an item of the subscription `target`."""
        if self._end is not None:
            return
        if self._conflates and isinstance(item, Gap) and item.reason == CONFLATED:
            self._jumped = merged(self._jumped, item)
        else:
            if self._jumped is not None:
                self._lose(self._jumped, CONFLATED, target)
                self._jumped = None
            self._append(item, target)
        self._has_news.set()

    async def take(self) -> Item:
        """The next item. Raises what it was ended with when there is none left."""
        while (item := self._pop()) is None:
            if self._end is not None:
                raise self._end
            self._has_news.clear()
            await self._has_news.wait()
        return item

    def end(self, error: Exception, *, at_once: bool = False) -> None:
        """Nothing comes any more: `error` is raised behind what waits, or in its place."""
        if self._end is None:
            self._end = error
        if at_once:
            self._items.clear()
            self._lost = self._jumped = self._restarted = None
        self._has_news.set()

    def _append(self, item: Item, target: str) -> None:
        key: str | int = next(self._numbers)
        if self._conflates and isinstance(item, Message):
            key = item.topic
            if (older := self._items.pop(key, None)) is not None:
                self._lose(older, CONFLATED, target)
        self._items[key] = item
        if self._pauses is None and len(self._items) > self._size_max:
            self._lose(self._items.popitem(last=False)[1], QUEUE, target)
        elif self._pauses and len(self._items) >= self._size_max and not self._is_paused:
            self._is_paused = True
            self._pauses()

    def _pop(self) -> Item | None:
        if self._restarted is not None:
            restarted, self._restarted = self._restarted, None
            return restarted
        if self._lost is not None:
            lost, self._lost = self._lost, None
            return lost
        if not self._items:
            jumped, self._jumped = self._jumped, None
            return jumped
        item = self._items.popitem(last=False)[1]
        self._make_use_of_room()
        return item

    def _make_use_of_room(self) -> None:
        if self._is_paused and len(self._items) <= self._size_max // 2:
            self._is_paused = False
            if self._goes_on is not None:
                self._goes_on()

    def _lose(self, item: Item, reason: str, target: str) -> None:
        match item:
            case Message(seq=seq, epoch=epoch):
                self._lost = merged(self._lost, Gap(target, epoch, seq, seq, 1, reason))
            case Gap(_, epoch, from_seq, to_seq, frames, _):
                gap = Gap(target, epoch, from_seq, to_seq, frames, reason)
                self._lost = merged(self._lost, gap)
            case Restarted():
                before = self._restarted.epoch_before if self._restarted else item.epoch_before
                self._restarted = Restarted(target, before, item.epoch)
            case Resumed():
                pass  # What it announced is told by the gap.


def merged(older: Gap | None, gap: Gap) -> Gap:
    """One gap for two. Across a restart only the end of it has a meaning."""
    if older is None:
        return gap
    is_counted = older.frames is not None and gap.frames is not None
    frames = (older.frames or 0) + (gap.frames or 0) if is_counted else None
    is_one_life = older.epoch == gap.epoch
    from_seq = min(older.from_seq, gap.from_seq) if is_one_life else 0
    to_seq = max(older.to_seq, gap.to_seq) if is_one_life else gap.to_seq
    reason = QUEUE if QUEUE in (older.reason, gap.reason) else gap.reason
    return Gap(gap.topic, gap.epoch, from_seq, to_seq, frames, reason)
