"""What a subscription brings: messages, and notices of what happened to them. Must not know where
they come from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

_POSITION = re.compile(r"([0-9a-z]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic or pattern. `str(position)` is what `from_` takes as well."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Reads `{epoch}-{seq}`."""
        found = _POSITION.fullmatch(text)
        if found is None:
            raise ValueError(
                f"a position is {{epoch}}-{{seq}}, as in eb2jwjn4505c-42, not {text!r}"
            )
        return cls(found[1], int(found[2]))


@dataclass(frozen=True, slots=True)
class Message:
    """A message: `data` is what was published, text as `str` and anything else as `bytes`."""

    topic: str
    data: str | bytes
    seq: int
    epoch: str
    pattern: str | None = None
    """The pattern it came by; none where the topic itself is subscribed."""

    @property
    def position(self) -> Position:
        """Where it stands: subscribe from here to get what follows it."""
        return Position(self.epoch, self.seq)

    def json(self) -> Any:
        """The data read as JSON."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages are missing here. `topic` is that of the subscription, which may be a pattern."""

    topic: str
    epoch: str
    from_seq: int
    to_seq: int
    frames: int | None
    """How many are missing between the two; none where nobody knows."""
    reason: str
    """`lagged`, `expired`, `epoch`, `conflated` or `relay` as the server says; `queue` where this
    program did not take them in time, `conflated` also where `mode="latest"` jumped over them."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The subscription stands again after a lost connection, and goes on behind `position`. If
    anything is missing, a gap follows."""

    topic: str
    position: Position


@dataclass(frozen=True, slots=True)
class Restarted:
    """The topic has begun another life: positions of `epoch_before` hold no more. A gap with the
    reason `epoch` follows."""

    topic: str
    epoch_before: str
    epoch: str


Item: TypeAlias = Message | Gap | Resumed | Restarted


@dataclass(frozen=True, slots=True)
class Published:
    """The reply to a publish."""

    epoch: str
    seq: int
    subscribers: int

    @property
    def position(self) -> Position:
        """Where the message stands in its topic."""
        return Position(self.epoch, self.seq)
