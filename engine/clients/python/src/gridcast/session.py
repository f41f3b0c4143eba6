"""One life of a connection: commands and their answers, deliveries to the feeds they are for, and
watching that the other side lives. Must not connect, or decide what comes after it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gridcast import closes, wire
from gridcast.backoff import Backoff
from gridcast.clock import Clock
from gridcast.closes import Ending
from gridcast.connection import Connection, Ended
from gridcast.errors import CommandError, WireError
from gridcast.feed import Feed
from gridcast.items import Published
from gridcast.liveness import PROBE_S, Liveness, Verdict
from gridcast.renewal import Renewal

_log = logging.getLogger("gridcast")

# Messages after which the program has a turn: one read of the socket may bring thousands, which
# would fill a queue that its program empties in time.
_TURN_MESSAGES = 32
# More than a publish has beside topic and payload.
_COMMAND_BYTES = 128
_LONGEST_ID = 10**12


@dataclass(slots=True, eq=False)
class Attempt:
    """A message on its way. The reply is none where the connection ended first."""

    reply: asyncio.Future[Published | None]
    was_sent: bool = False


@dataclass(slots=True, eq=False)
class _Subscribe:
    feed: Feed


@dataclass(slots=True, eq=False)
class _Unsubscribe:
    feed: Feed


@dataclass(slots=True, eq=False)
class _Authenticate:
    counts: asyncio.Future[bool]


_Asked: TypeAlias = Attempt | _Subscribe | _Unsubscribe | _Authenticate


@dataclass(slots=True)
class _Named:
    """What a number of gridcast.v1.bin stands for."""

    feed: Feed
    topic: str
    pattern: str | None = field(default=None)


class Session:
    """A connection at work."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        retries: Callable[[], Backoff],
        renewal: Renewal,
    ):
        self._connection, self._renewal = connection, renewal
        self._liveness = Liveness(connection.heartbeat_s, clock)
        self._clock, self._retries = clock, retries
        self._backoffs: dict[Feed, Backoff] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._ids = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        # Its bound is that of subscriptions, and of publishes in flight.
        self._outgoing: deque[tuple[int, str]] = deque()
        self._has_outgoing = asyncio.Event()
        self._standing: dict[str, Feed] = {}
        self._numbers: dict[int, _Named] = {}
        self._is_over = False

    async def run(self) -> Ending:
        """Works until the connection ends."""
        runs = (self._write, self._watch, self._renew)
        helpers = [asyncio.create_task(self._guarded(run)) for run in runs]
        try:
            return await self._read()
        finally:
            self._is_over = True
            self._connection.abort(closes.lost("the session is over"))
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._give_up()

    @property
    def is_over(self) -> bool:
        """Whether it takes no more commands: it has ended, or is about to."""
        return self._is_over

    async def close(self) -> None:
        """Ends it as the program wishes."""
        self._is_over = True
        await self._connection.close()

    # ---- commands ----

    def subscribe(self, feed: Feed) -> None:
        """Asks for a subscription, from where it stands."""
        if not (self._is_over or feed.is_over or feed.is_paused):
            self._ask(_Subscribe(feed), lambda id_: wire.command(id_, "subscribe", feed.fields()))

    def unsubscribe(self, feed: Feed) -> None:
        """Gives a subscription up: what still comes of it is thrown away."""
        feed.is_standing = False
        fields = {"topic": feed.target}
        self._ask(_Unsubscribe(feed), lambda id_: wire.command(id_, "unsubscribe", fields))

    def publish(self, topic: str, payload: str) -> Attempt:
        """Publishes what `wire.payload` wrote."""
        attempt = Attempt(asyncio.get_running_loop().create_future())
        if self._is_over:
            attempt.reply.set_result(None)
        elif self._is_too_long(topic, payload):
            bytes_max = self._connection.message_bytes_max
            message = f"longer than the server takes, which is {bytes_max} bytes"
            attempt.reply.set_exception(CommandError("too_big", message))
        else:
            self._ask(attempt, lambda id_: wire.publish(id_, topic, payload))
        return attempt

    def _is_too_long(self, topic: str, payload: str) -> bool:
        """Whether the server would end the connection because of it."""
        bytes_max = self._connection.message_bytes_max
        # A character has four bytes at most: most messages need not be counted.
        if bytes_max is None or 4 * (len(topic) + len(payload)) + _COMMAND_BYTES < bytes_max:
            return False
        return len(wire.publish(_LONGEST_ID, topic, payload).encode()) > bytes_max

    async def _renew(self) -> None:
        await self._renewal.run(self._authenticate)

    async def _authenticate(self, token: str) -> bool:
        """Has the server judge this connection by another token; answers whether it does."""
        asked = _Authenticate(asyncio.get_running_loop().create_future())
        self._ask(asked, lambda id_: wire.command(id_, "auth", {"token": token}))
        return await asked.counts

    def _ask(self, asked: _Asked, text: Callable[[int], str]) -> None:
        id_ = next(self._ids)
        self._outgoing.append((id_, text(id_)))
        self._asked[id_] = asked
        self._has_outgoing.set()

    async def _write(self) -> None:
        while True:
            while self._outgoing:
                id_, text = self._outgoing.popleft()
                if self._begins(id_):
                    await self._connection.send(text)
            self._has_outgoing.clear()
            await self._has_outgoing.wait()

    def _begins(self, id_: int) -> bool:
        """Whether it is still wanted that this is sent."""
        asked = self._asked.get(id_)
        if isinstance(asked, Attempt):
            if asked.reply.done():
                del self._asked[id_]
                return False
            asked.was_sent = True
        return True

    def _give_up(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for asked in self._asked.values():
            if isinstance(asked, Attempt) and not asked.reply.done():
                asked.reply.set_result(None)
        self._asked.clear()

    # ---- helpers of the reader ----

    async def _guarded(self, run: Callable[[], Any]) -> None:
        """The reader learns from the connection that a helper is at its end."""
        with contextlib.suppress(Ended):
            try:
                await run()
            except Exception as error:
                _log.exception("a fault of this package")
                self._connection.abort(closes.lost(f"a fault of this package: {error!r}"))

    async def _watch(self) -> None:
        liveness = self._liveness
        while (reason := await self._complaint(liveness)) is None:
            await self._clock.sleep(liveness.look_s)
        self._connection.abort(closes.lost(reason))

    async def _complaint(self, liveness: Liveness) -> str | None:
        """Why the other side counts as dead, if it does."""
        verdict = liveness.look(self._connection.heard_count)
        if verdict is Verdict.DEAD:
            return f"nothing came for {liveness.silence_s_max:g} s"
        if verdict is Verdict.DOUBTFUL:
            if not await self._connection.answers(PROBE_S):
                return f"the clock jumped, and no ping was answered within {PROBE_S:g} s"
            liveness.answered()
        return None

    # ---- what comes ----

    async def _read(self) -> Ending:
        try:
            for count in itertools.count(1):
                self._take(await self._connection.receive())
                if count % _TURN_MESSAGES == 0:
                    await asyncio.sleep(0)
        except Ended as ended:
            return ended.ending
        except WireError as error:
            _log.warning("%s", error)
            return closes.lost(str(error))
        raise AssertionError("counting has no end")

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            number, seq, data = wire.binary(message)
            named = self._named(number)
            return named.feed.message(named.topic, named.pattern, seq, data)
        told, raw = wire.members(message)
        try:
            self._told(told, raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise WireError(f"not understood ({error!r}): {message[:200]}") from None

    def _told(self, told: dict[str, Any], raw: str) -> None:
        if "seq" in told:
            self._delivered(told, raw)
        elif "feed" in told:
            feed = self._standing[told["pattern"]]
            self._numbers[told["feed"]] = _Named(feed, told["topic"], told["pattern"])
        elif "gap" in told:
            gap = told["gap"]
            feed = self._standing[gap["topic"]]
            feed.gap(gap["from"], gap["to"], gap.get("frames"), gap["reason"])
        elif "topic" in told.get("error", {}):
            self._ended(told["error"])
        elif "beat" not in told:
            self._answered(told)

    def _delivered(self, told: dict[str, Any], raw: str) -> None:
        topic, pattern = told["topic"], told.get("pattern")
        feed = self._standing[topic if pattern is None else pattern]
        feed.message(topic, pattern, told["seq"], wire.text_data(told, raw))

    def _named(self, number: int) -> _Named:
        named = self._numbers.get(number)
        if named is None:
            raise WireError(f"feed {number} was never told")
        return named

    def _answered(self, told: dict[str, Any]) -> None:
        asked = self._asked.pop(told["id"], None) if "id" in told else None
        if asked is None:
            raise WireError(f"an answer to nothing that was asked: {str(told)[:200]}")
        if "error" in told:
            error = told["error"]
            self._refused(asked, CommandError(error["code"], error["message"]))
        elif isinstance(asked, Attempt):
            reply = told["published"]
            published = Published(reply["epoch"], reply["seq"], reply["subscribers"])
            if not asked.reply.done():
                asked.reply.set_result(published)
        elif isinstance(asked, _Subscribe):
            self._subscribed(asked.feed, told["subscribed"])
        elif isinstance(asked, _Authenticate):
            asked.counts.set_result(True)
        else:
            self._forget(asked.feed)

    def _ended(self, error: dict[str, Any]) -> None:
        """A subscription that the new token does not cover."""
        feed = self._standing.get(error["topic"])
        if feed is not None:
            self._forget(feed)
            feed.end(CommandError(error["code"], error["message"]))

    def _subscribed(self, feed: Feed, reply: dict[str, Any]) -> None:
        self._standing[feed.target] = feed
        if self._connection.is_binary:
            self._numbers[reply["feed"]] = _Named(feed, feed.target)
        self._backoffs.pop(feed, None)
        if not feed.is_paused:
            feed.subscribed(reply["epoch"], reply["seq"])

    def _forget(self, feed: Feed) -> None:
        self._standing.pop(feed.target, None)
        numbers = [number for number, named in self._numbers.items() if named.feed is feed]
        for number in numbers:
            del self._numbers[number]

    def _refused(self, asked: _Asked, error: CommandError) -> None:
        if isinstance(asked, Attempt):
            if not asked.reply.done():
                asked.reply.set_exception(error)
        elif isinstance(asked, _Authenticate):
            _log.warning("the new token does not count: %s", error)
            asked.counts.set_result(False)
        elif isinstance(asked, _Subscribe) and asked.feed.refused(error):
            self._ask_again(asked.feed)

    def _ask_again(self, feed: Feed) -> None:
        delay_s = self._backoffs.setdefault(feed, self._retries()).jitter_s()
        loop = asyncio.get_running_loop()
        self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
        self._timers.add(loop.call_later(delay_s, self.subscribe, feed))
