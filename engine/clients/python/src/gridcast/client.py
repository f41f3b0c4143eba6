"""The client: one connection, made again whenever it ends, and the subscriptions that outlive it.
Must not read or write messages: a session does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Unpack

from gridcast import closes, options, wire
from gridcast.backoff import Backoff
from gridcast.clock import Clock
from gridcast.closes import Ending, Next
from gridcast.connection import Connection, Ended, greeted
from gridcast.endpoint import Endpoint
from gridcast.errors import ClosedError, CommandError, GridcastError, RefusedError
from gridcast.feed import Feed
from gridcast.history import Record, records
from gridcast.http import BatchReply, Http
from gridcast.items import Gap, Position, Published
from gridcast.options import ClientOptions, Lag, Limits, Mode, Overflow, SubscribeOptions
from gridcast.polling import polled
from gridcast.publisher import Publisher
from gridcast.renewal import Renewal
from gridcast.session import Session
from gridcast.state import State
from gridcast.subscription import Subscription
from gridcast.tokens import Token, Tokens

_log = logging.getLogger("gridcast")

# How often the token callback may give a token that was refused already, before that is final: it
# may keep one until its own clock says that it has expired.
_REFUSED_TOKENS_MAX = 5


class Client:
    """A connection to gridcast for many subscriptions and publishes.

        async with gridcast.Client("ws://127.0.0.1:9400") as client:
            async for item in client.subscribe("pmu/#", from_="last"):
                ...

    `token` is a text, or a function that is called for each connection. `tls` replaces the default
    trust for `wss`. `on_state` is called with each `State`. README.md has the other options.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        tls: ssl.SSLContext | None = None,
        on_state: Callable[[State], None] | None = None,
        clock: Clock | None = None,
        **limits: Unpack[Limits],
    ) -> None:
        self._endpoint, self._tls = Endpoint.parse(url), tls
        self._options = ClientOptions(**limits)
        self._tokens, self._tokens_refused = Tokens(token), 0
        self._token_sent: str | None = None
        self._on_state = options.function("on_state", on_state)
        self._clock = clock or Clock()
        self._backoff = self._new_backoff()
        self._feeds: dict[str, Feed] = {}
        self._session: Session | None = None
        self._end: GridcastError | None = ClosedError("use `async with Client(…)`")
        self._running: asyncio.Task[None] | None = None
        self.state = State("closed", "not entered")

    # ---- its life ----

    async def __aenter__(self) -> Client:
        if self._running is not None:
            raise ClosedError("a client is entered once")
        self._end = None
        self._changed = asyncio.Event()
        self._publisher = Publisher(self._standing, self._options.publishes_max)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all subscriptions and the connection."""
        self._finish(ClosedError(), at_once=True)
        if self._session is not None:
            await self._session.close()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def connected(self) -> None:
        """Waits until there is a connection; raises what makes it impossible."""
        await self._standing()

    # ---- subscribing ----

    def subscribe(
        self,
        topic: str,
        *,
        from_: str | Position = "latest",
        mode: Mode = "lossless",
        rate: int | None = None,
        lag: Lag | None = None,
        queue_max: int = 1024,
        overflow: Overflow = "drop",
    ) -> Subscription:
        """Follows a topic or pattern, from now on and over lost connections."""
        options.text("topic", topic)
        chosen = SubscribeOptions(
            from_=from_, mode=mode, rate=rate, lag=lag, queue_max=queue_max, overflow=overflow
        )
        if self._end is not None:
            raise self._end
        if topic in self._feeds:
            message = f"{topic!r} is subscribed already by this client: close that first"
            raise CommandError("already_subscribed", message)
        feed = Feed(topic, chosen, pauses=self._pause, goes_on=self._go_on)
        self._feeds[topic] = feed
        if self._session is not None:
            self._session.subscribe(feed)
        return Subscription(feed, self._leave)

    def _leave(self, feed: Feed) -> None:
        was_over = feed.is_over
        feed.end(ClosedError("the subscription is closed"), at_once=True)
        if self._feeds.get(feed.target) is feed:
            del self._feeds[feed.target]
        if not was_over and not feed.is_paused and self._session is not None:
            self._session.unsubscribe(feed)

    def _pause(self, feed: Feed) -> None:
        feed.is_paused = True
        if self._session is not None:
            self._session.unsubscribe(feed)

    def _go_on(self, feed: Feed) -> None:
        feed.is_paused = False
        if self._session is not None:
            self._session.subscribe(feed)

    # ---- publishing and the past ----

    async def publish(
        self, topic: str, data: object, *, retry: bool = False, timeout_s: float | None = None
    ) -> Published:
        """Publishes bytes, text, or any other value as JSON; answers where it stands.

        Where the connection ends before the reply, `MaybePublishedError` is raised; with `retry`
        the message is sent again instead, and subscribers may get it twice.
        """
        options.text("topic", topic)
        payload = wire.payload(data)
        if self._end is not None:
            raise self._end
        timeout_s = self._options.publish_timeout_s if timeout_s is None else timeout_s
        return await self._publisher.publish(topic, payload, retry=retry, timeout_s=timeout_s)

    async def publish_many(self, messages: Iterable[tuple[str, object]]) -> BatchReply:
        """Publishes pairs of topic and data in one HTTP request."""
        http = await self._http()
        return await asyncio.to_thread(http.publish_many, list(messages))

    async def history(
        self,
        topic: str,
        *,
        from_: str | int | Position | datetime = "oldest",
        to: str | int | Position | datetime | None = None,
        page: int = 1000,
    ) -> AsyncIterator[Record | Gap]:
        """What was published before, oldest first, page by page over HTTP."""
        http = await self._http()
        async for record in records(http, topic, from_, to, page):
            yield record

    async def poll(
        self,
        target: str,
        *,
        from_: str | Position = "latest",
        wait_s: float = 20.0,
    ) -> AsyncIterator[Record | Gap]:
        """What comes, by long polling: for where no WebSocket passes.

        It goes on for as long as it is iterated, connects again by itself, and tells every gap.
        Giving it up leaves a request behind that ends within `wait_s`.
        """
        retries = (self._clock, self._new_backoff, self._tokens.may_change)
        async for record in polled(self._http, target, from_, wait_s, retries):
            yield record

    async def _http(self) -> Http:
        return Http(self._endpoint, await self._tokens.next(), self._tls)

    # ---- the connection ----

    async def _standing(self) -> Session:
        # One that is over takes nothing more, and would be handed out again and again.
        while self._session is None or self._session.is_over:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        return self._session

    async def _run(self) -> None:
        try:
            while (delay_s := await self._one_connection()) is not None:
                await self._clock.sleep(delay_s)
        except Exception as error:
            # Nobody awaits this task: whoever iterates or publishes has to be told.
            _log.exception("a fault of this package")
            self._finish(GridcastError("fault", f"a fault of this package: {error!r}"))

    async def _one_connection(self) -> float | None:
        """Connects and works until that ends; answers after which delay to do it again."""
        self._tell(State("connecting"))
        up_s = 0.0
        try:
            connection = await self._connect()
            renewal = Renewal(self._tokens, self._token_sent, self._clock)
            session = Session(connection, self._clock, self._new_backoff, renewal)
            since_s = self._clock.monotonic_s()
            ending = await self._work(session)
            self._token_sent = renewal.token
            up_s = self._clock.monotonic_s() - since_s
        except Ended as ended:
            ending = ended.ending
        return self._after(ending, up_s)

    async def _connect(self) -> Connection:
        self._token_sent = await self._token()
        return await greeted(self._endpoint, self._token_sent, self._options, self._tls)

    async def _work(self, session: Session) -> Ending:
        self._session = session
        for feed in self._feeds.values():
            session.subscribe(feed)
        self._tell(State("open"))
        self._changed.set()
        try:
            return await session.run()
        finally:
            self._session = None
            for feed in self._feeds.values():
                feed.cut()

    async def _token(self) -> str | None:
        try:
            token = await self._tokens.next()
        except Exception as error:
            raise Ended(closes.lost(f"the token callback failed: {error!r}")) from None
        if self._tokens.is_refused(token):
            self._tokens_refused += 1
            is_final = self._tokens_refused >= _REFUSED_TOKENS_MAX
            reason = "the token callback gives the token that was refused"
            raise Ended(Ending(reason, 401, Next.NO if is_final else Next.LATER))
        self._tokens_refused = 0
        return token

    def _after(self, ending: Ending, up_s: float) -> float | None:
        if ending.is_about_token and self._tokens.may_change and not self._tokens_refused:
            self._tokens.refuse(self._token_sent)
            ending = dataclasses.replace(ending, next=Next.NOW)
        if ending.next is Next.NO:
            self._finish(RefusedError(ending.status or 0, ending.reason))
            return None
        delay_s = self._backoff.delay_s(ending, up_s)
        self._tell(State("waiting", ending.reason, delay_s))
        return delay_s

    def _finish(self, error: GridcastError, *, at_once: bool = False) -> None:
        if self._end is not None:
            return
        self._end = error
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            feed.end(error, at_once=at_once)
        self._changed.set()
        self._tell(State("closed", str(error)))

    def _tell(self, state: State) -> None:
        self.state = state
        level = logging.WARNING if state.reason and state.phase == "waiting" else logging.DEBUG
        _log.log(level, "%s %s", state.phase, state.reason)
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                _log.exception("on_state failed")

    def _new_backoff(self) -> Backoff:
        return Backoff(self._options.reconnect_s_min, self._options.reconnect_s_max)
