"""How a connection ended and what follows from it: the table of close codes, and its counterpart
for refused handshakes. Must not wait or connect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

UNAUTHORISED = (401, 4401)

_DELAY = re.compile(r"\b(\d{1,9}) ms\b")


class Next(Enum):
    """What to do after an end."""

    NO = "no"
    """Connecting again without changing anything would end the same way."""
    NOW = "now"
    """Connect again at once."""
    LATER = "later"
    """Connect again after a delay, with jitter."""


# docs/protocol.md, "Close codes". What is not in it comes from proxies, and passes.
_CLOSES = {
    1000: Next.NO, 1001: Next.LATER, 1002: Next.NO, 1003: Next.NO, 1007: Next.NO, 1009: Next.NO,
    4400: Next.NO, 4401: Next.NO, 4403: Next.NO, 4408: Next.NOW, 4409: Next.NOW,
    4410: Next.LATER, 4429: Next.LATER, 4503: Next.LATER,
}  # fmt: skip

# Of the refusals below 500 these are about the moment, not about the request.
_PASSING_STATUSES = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a connection, or of the attempt to make one."""

    reason: str
    status: int | None = None
    """A close code, an HTTP status, or none where nobody said anything."""
    next: Next = Next.LATER
    delay_s: float | None = None
    """The delay the server asks for, exactly, because it spread its clients itself."""
    delay_s_min: float = 0.0
    """The delay the server asks for, to which jitter is added."""

    @property
    def is_about_token(self) -> bool:
        """Whether another token may help."""
        return self.status in UNAUTHORISED


def of_close(code: int, reason: str) -> Ending:
    """A close frame came."""
    after = _CLOSES.get(code, Next.LATER)
    delay_s = _asked_delay_s(reason) if code == 1001 else None
    return Ending(reason or "closed without a reason", code, after, delay_s)


def of_own_close(code: int, reason: str) -> Ending:
    """This side gave up, because of what the other one sent. Only a message that is too large would
    come again the same."""
    return Ending(reason, code, Next.NO if code == 1009 else Next.LATER)


def of_status(status: int, reason: str, retry_after: str | None) -> Ending:
    """The handshake was refused."""
    passes = status >= 500 or status in _PASSING_STATUSES
    after = Next.LATER if passes else Next.NO
    return Ending(reason, status, after, delay_s_min=_seconds(retry_after))


def lost(reason: str) -> Ending:
    """Nothing was said: the network or the server is gone."""
    return Ending(reason)


def _asked_delay_s(reason: str) -> float | None:
    found = _DELAY.search(reason)
    return int(found[1]) / 1000 if found else None


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
