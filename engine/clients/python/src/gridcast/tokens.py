"""Where the token comes from. Owns that a refused one is not tried again. Must not send it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None


class Tokens:
    """The source of tokens: a text, or a function that is called for each connection."""

    def __init__(self, source: Token) -> None:
        if source is not None and not callable(source):
            _checked(source)
        self._source = source
        self._refused: str | None = None

    async def next(self) -> str | None:
        """The token for the next connection or request."""
        if self._source is None or isinstance(self._source, str):
            return self._source
        token = self._source()
        return _checked(await token if inspect.isawaitable(token) else token)

    def refuse(self, token: str | None) -> None:
        """The server says that this one does not count."""
        self._refused = token

    def is_refused(self, token: str | None) -> bool:
        """Whether this is the one that was refused last."""
        return token is not None and token == self._refused

    @property
    def may_change(self) -> bool:
        """Whether asking again can give another one."""
        return callable(self._source)


def _checked(token: object) -> str:
    if not isinstance(token, str):
        raise TypeError(f"token: a text is needed, not a {type(token).__name__}")
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        # It is not shown: whoever reads the message may not be meant to.
        raise ValueError("token: visible ASCII characters are needed, without spaces")
    return token
