"""What a client is doing, for whoever shows or logs it. Must not act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["connecting", "open", "waiting", "closed"]


@dataclass(frozen=True, slots=True)
class State:
    """A step in the life of a client."""

    phase: Phase
    reason: str = ""
    """Why it waits or is closed."""
    delay_s: float = 0.0
    """How long it waits before it connects again."""
