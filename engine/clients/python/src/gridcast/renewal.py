"""When the token of an open connection is replaced by another of its callback, so that nothing is
interrupted. Must not send it, or judge one."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable

from gridcast.clock import Clock
from gridcast.tokens import Tokens

_log = logging.getLogger("gridcast")

# Of its time, before it is replaced: the rest is for an identity provider that is slow.
_SHARE = 0.8
# One that lasts for less is not replaced: another connection is as cheap as another token.
_LEFT_S_MIN = 5.0
_SLEEP_S_MAX = 86_400.0


class Renewal:
    """The token of one connection."""

    def __init__(self, tokens: Tokens, token: str | None, clock: Clock) -> None:
        self._tokens, self._clock = tokens, clock
        self.token = token

    async def run(self, authenticate: Callable[[str], Awaitable[bool]]) -> None:
        """Replaces it each time before it ends; `authenticate` answers whether one counts."""
        while self._tokens.may_change and (left_s := self._left_s()) > _LEFT_S_MIN:
            await self._clock.sleep(min(left_s * _SHARE, _SLEEP_S_MAX))
            token = await self._next()
            if token is not None and await authenticate(token):
                self.token = token

    async def _next(self) -> str | None:
        try:
            return await self._tokens.next()
        except Exception as error:
            # Asked again while there is time; then the connection ends, and the next one asks.
            _log.warning("the token callback failed: %r", error)
            return None

    def _left_s(self) -> float:
        """How long it lasts, by the clock here; nothing where it does not say."""
        ends_s = _end_s(self.token)
        return 0.0 if ends_s is None else ends_s - self._clock.wall_s()


def _end_s(token: str | None) -> float | None:
    """The `exp` of a JSON Web Token."""
    try:
        body = (token or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
