"""One subscription as the connections see it: where it stands, what it asks for, what it is told.
Must not send: a session does. Must not be seen by the program, which has the handle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gridcast.errors import CommandError, GridcastError
from gridcast.inbox import Inbox
from gridcast.items import Gap, Item, Message, Position, Restarted, Resumed
from gridcast.options import SubscribeOptions

# Refusals that pass by themselves: a subscription that stood once waits for that.
_PASSING = ("over_capacity", "unavailable", "rate_limited")


class Feed:
    """The state of a subscription, which outlives connections."""

    def __init__(
        self,
        target: str,
        options: SubscribeOptions,
        *,
        pauses: Callable[[Feed], None],
        goes_on: Callable[[Feed], None],
    ) -> None:
        self.target, self.options = target, options
        self.is_over = False
        # Paused, it has no subscription at the server, and costs nothing there.
        self.is_paused = False
        # Whether what comes is taken: from the answer to `subscribe` until it is given up.
        self.is_standing = False
        # Whether the next answer to `subscribe` follows a lost connection.
        self.was_cut = False
        # Behind what was received last. It does not move when the server answers, because the gap
        # that follows may be cut off, and then has to be told again.
        self.position = options.position()
        self.ready: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._epoch: str | None = None
        waits = options.overflow == "pause"
        self.inbox = Inbox(
            options.queue_max,
            conflates=options.mode == "latest",
            pauses=(lambda: pauses(self)) if waits else None,
            goes_on=(lambda: goes_on(self)) if waits else None,
        )

    def fields(self) -> dict[str, Any]:
        """The fields of the command `subscribe`."""
        begin = str(self.position or self.options.from_)
        return {"topic": self.target, "from": begin, **self.options.fields()}

    def subscribed(self, epoch: str, seq: int) -> None:
        """The server has it: what follows comes behind `seq`."""
        if self.is_over:
            return
        self.is_standing = True
        before, self._epoch = self._epoch, epoch
        if self.position is None:
            self.position = Position(epoch, seq)
        if before is None:
            if not self.ready.done():
                self.ready.set_result(Position(epoch, seq))
        elif before != epoch:
            self._put(Restarted(self.target, before, epoch))
        elif self.was_cut:
            self._put(Resumed(self.target, self.position))
        self.was_cut = False

    def cut(self) -> None:
        """The connection is gone."""
        self.is_standing = False
        self.was_cut = self._epoch is not None and not self.is_paused

    def message(self, topic: str, pattern: str | None, seq: int, data: str | bytes) -> None:
        """A message came."""
        if self.is_standing and self._epoch is not None:
            self.position = Position(self._epoch, seq)
            self._put(Message(topic, data, seq, self._epoch, pattern))

    def gap(self, from_seq: int, to_seq: int, frames: int | None, reason: str) -> None:
        """The server says that something is missing."""
        if self.is_standing and self._epoch is not None:
            self.position = Position(self._epoch, to_seq)
            self._put(Gap(self.target, self._epoch, from_seq, to_seq, frames, reason))

    def refused(self, error: CommandError) -> bool:
        """The server did not take it. Answers whether to ask again later."""
        if self._epoch is not None and error.code in _PASSING:
            return True
        self.end(error)
        return False

    def end(self, error: GridcastError, *, at_once: bool = False) -> None:
        """It is over."""
        self.is_over, self.is_standing = True, False
        self.inbox.end(error, at_once=at_once)
        if not self.ready.done():
            self.ready.set_exception(error)
            # Nobody has to ask for it: whoever iterates is told as well.
            self.ready.exception()

    def _put(self, item: Item) -> None:
        self.inbox.put(item, self.target)
