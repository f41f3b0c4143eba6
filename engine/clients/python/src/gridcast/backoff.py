"""How long to wait before connecting again. Owns the jitter. Must not wait, or read a clock."""

from __future__ import annotations

import random
from collections.abc import Callable

from gridcast.closes import Ending, Next

# A connection that stood this long was a good one: what comes after it begins anew. Shorter, and a
# server that takes connections only to drop them would be asked without end.
STEADY_S = 10.0


class Backoff:
    """Full jitter: any delay up to a ceiling that doubles with each attempt."""

    def __init__(
        self, s_min: float, s_max: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._s_min, self._s_max, self._uniform = s_min, s_max, uniform
        self._attempts = 0

    def delay_s(self, ending: Ending, up_s: float = 0.0) -> float:
        """How long to wait after a connection that stood for `up_s`."""
        if up_s >= STEADY_S:
            self._attempts = 0
        is_first = self._attempts == 0
        jitter_s = self.jitter_s()
        if ending.delay_s is not None:
            return ending.delay_s
        if ending.next is Next.NOW and is_first:
            return 0.0
        return ending.delay_s_min + jitter_s

    def jitter_s(self) -> float:
        """The next delay."""
        # Beyond 2**32 the ceiling is above every s_max that can be set.
        ceiling_s = min(self._s_max, self._s_min * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return self._uniform(0.0, ceiling_s)
