"""Whether the other side lives, judged by what was heard of it and when. Must not touch a socket or
wait: it is asked at intervals."""

from __future__ import annotations

from enum import Enum

from gridcast.clock import Clock

# Between two looks at a connection, at most: how late a machine that slept notices it.
LOOK_S_MAX = 1.0
# Time that passes between two looks, from which on they are in doubt, however rare heartbeats are.
DOUBT_S_MAX = 30.0
# How long a ping may take when the clocks say that this machine slept: its network may need a
# moment, and a program that stood still because it was short of CPU still is.
PROBE_S = 5.0


class Verdict(Enum):
    """What a look found."""

    ALIVE = "alive"
    DOUBTFUL = "doubtful"
    """This program or machine stood still: what was heard before says nothing."""
    DEAD = "dead"


class Liveness:
    """Keeps when something was heard last, by two clocks."""

    def __init__(self, heartbeat_s: float, clock: Clock) -> None:
        self._clock = clock
        self.silence_s_max = 2 * heartbeat_s
        self.look_s = min(heartbeat_s / 4, LOOK_S_MAX)
        self._count = -1
        self._heard_s = self._looked_s = clock.monotonic_s()
        self._looked_wall_s = clock.wall_s()

    def look(self, count: int) -> Verdict:
        """Judges; `count` grows whenever anything comes."""
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        since_look_s = max(now_s - self._looked_s, wall_s - self._looked_wall_s)
        self._looked_s, self._looked_wall_s = now_s, wall_s
        if count != self._count:
            self._count, self._heard_s = count, now_s
        if since_look_s > min(self.silence_s_max, DOUBT_S_MAX):
            return Verdict.DOUBTFUL
        is_dead = now_s - self._heard_s >= self.silence_s_max
        return Verdict.DEAD if is_dead else Verdict.ALIVE

    def answered(self) -> None:
        """A ping was answered."""
        self._heard_s = self._clock.monotonic_s()
