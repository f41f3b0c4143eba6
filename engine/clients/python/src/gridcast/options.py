"""The options of a client and of a subscription, with their defaults and ranges. Owns that a wrong
one is refused where it is said. Must not act on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict

from gridcast.items import Position

Mode: TypeAlias = Literal["lossless", "latest"]
Lag: TypeAlias = Literal["disconnect", "skip-to-oldest", "skip-to-latest"]
Overflow: TypeAlias = Literal["drop", "pause"]
Protocol: TypeAlias = Literal["auto", "bin", "json"]

FROM = ("latest", "last", "oldest")

# The lowest and the highest value of each number.
_RANGES: dict[str, tuple[float, float]] = {
    "connect_timeout_s": (0.05, 600),
    "publish_timeout_s": (0.05, 3600),
    "publishes_max": (1, 65536),
    "message_bytes_max": (1024, 1 << 30),
    "reconnect_s_min": (0.01, 3600),
    "reconnect_s_max": (0.01, 3600),
    "rate": (1, 1000),
    "queue_max": (1, 1_000_000),
}
_WORDS: dict[str, tuple[str, ...]] = {
    "protocol": ("auto", "bin", "json"),
    "mode": ("lossless", "latest"),
    "lag": ("disconnect", "skip-to-oldest", "skip-to-latest"),
    "overflow": ("drop", "pause"),
}


class Limits(TypedDict, total=False):
    """The same as `ClientOptions`, as arguments of a client."""

    protocol: Protocol
    compression: bool
    connect_timeout_s: float
    publish_timeout_s: float
    publishes_max: int
    message_bytes_max: int
    reconnect_s_min: float
    reconnect_s_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What holds for a whole client; README.md says why each is as it is."""

    protocol: Protocol = "auto"
    compression: bool = False
    connect_timeout_s: float = 10.0
    publish_timeout_s: float = 10.0
    publishes_max: int = 1000
    message_bytes_max: int = 16 << 20
    reconnect_s_min: float = 0.5
    reconnect_s_max: float = 20.0

    def __post_init__(self) -> None:
        _check(self)
        if self.reconnect_s_max < self.reconnect_s_min:
            raise ValueError(
                f"reconnect_s_max={self.reconnect_s_max} must not be below "
                f"reconnect_s_min={self.reconnect_s_min}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeOptions:
    """What holds for one subscription."""

    from_: str | Position = "latest"
    mode: Mode = "lossless"
    rate: int | None = None
    lag: Lag | None = None
    queue_max: int = 1024
    overflow: Overflow = "drop"

    def __post_init__(self) -> None:
        _check(self)
        for name, value in (("lag", self.lag), ("overflow", self.overflow)):
            if self.mode == "latest" and value not in (None, "drop"):
                raise ValueError(f"{name}={value!r} belongs to mode='lossless'")
        self.position()

    def position(self) -> Position | None:
        """The position in `from_`, if it is one."""
        if isinstance(self.from_, Position):
            return self.from_
        if self.from_ in FROM:
            return None
        try:
            return Position.parse(self.from_)
        except (ValueError, TypeError) as error:
            raise ValueError(f"from_: none of {', '.join(FROM)}, and {error}") from None

    def fields(self) -> dict[str, Any]:
        """The fields of the command `subscribe` but the topic and where to begin."""
        told = {"mode": self.mode, "rate": self.rate, "lag": self.lag}
        return {name: value for name, value in told.items() if value not in (None, "lossless")}


def text(name: str, value: object) -> str:
    """A topic or pattern, of which the server says whether it is one."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name}: a text that is not empty is needed, not {value!r}")
    return value


def function(name: str, value: Any) -> Callable[..., Any] | None:
    """A function, or none."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: a function is needed, not {value!r}")
    return value  # type: ignore[no-any-return]


def _check(options: ClientOptions | SubscribeOptions) -> None:
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in _RANGES and value is not None:
            is_whole = field.type in ("int", "int | None")
            _number(field.name, value, *_RANGES[field.name], is_whole=is_whole)
        elif field.name in _WORDS and value is not None and value not in _WORDS[field.name]:
            raise ValueError(f"{field.name}={value!r}: none of {', '.join(_WORDS[field.name])}")


def _number(name: str, value: Any, low: float, high: float, *, is_whole: bool) -> None:
    kinds = (int,) if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r}: a {'whole ' if is_whole else ''}number is needed")
    if not low <= value <= high:
        raise ValueError(f"{name}={value!r}: {low:g} to {high:g} is possible")
