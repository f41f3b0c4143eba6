"""Time, and waiting for it. The one file that reads a clock. Must not know what is timed."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The clocks of this machine. Tests hand in others."""

    def monotonic_s(self) -> float:
        """Seconds that never go back, but may stand still while the machine sleeps."""
        return time.monotonic()

    def wall_s(self) -> float:
        """Seconds since 1970, which go on while the machine sleeps, and may be set."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)
