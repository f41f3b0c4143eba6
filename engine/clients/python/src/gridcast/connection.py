"""One WebSocket with a greeting. The only file that knows the library `websockets`. Must not know
topics or what a message means."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from gridcast import closes, wire
from gridcast.closes import Ending, Next
from gridcast.endpoint import Endpoint
from gridcast.options import ClientOptions

_PROTOCOLS = {"auto": [wire.BIN, wire.JSON], "bin": [wire.BIN], "json": [wire.JSON]}
# How long the farewell may take: nothing of value is waited for.
_CLOSE_TIMEOUT_S = 2.0
# Messages that were read and not taken yet, before the socket is left alone.
_READ_AHEAD_MAX = 256
_REASON_CHARS_MAX = 500


class Ended(Exception):
    """The connection is over, or there never was one."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class _Heard(ClientConnection):
    """Counts what comes, bytes of unfinished messages and control frames included."""

    heard_count = 0

    def data_received(self, data: bytes) -> None:
        self.heard_count += 1
        super().data_received(data)


class Connection:
    """A connection that was greeted."""

    def __init__(self, socket: _Heard, greeting: dict[str, Any]) -> None:
        self._socket = socket
        self._ending: Ending | None = None
        self.heartbeat_s = greeting["heartbeat_ms"] / 1000
        # None of a server that does not say.
        self.message_bytes_max: int | None = greeting.get("message_bytes_max")
        self.is_binary = socket.subprotocol == wire.BIN

    @property
    def heard_count(self) -> int:
        """Grows whenever anything comes."""
        return self._socket.heard_count

    async def receive(self) -> str | bytes:
        """The next message. Raises `Ended`."""
        try:
            return await self._socket.recv()
        except ConnectionClosed as closed:
            raise Ended(self._ending or _ending_of(closed)) from None

    async def send(self, text: str) -> None:
        """Sends a command. Raises `Ended`."""
        try:
            await self._socket.send(text)
        except ConnectionClosed as closed:
            raise Ended(self._ending or _ending_of(closed)) from None

    async def answers(self, timeout_s: float) -> bool:
        """Whether a ping is answered in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await (await self._socket.ping())
        except (TimeoutError, ConnectionClosed):
            return False
        return True

    def abort(self, ending: Ending) -> None:
        """Ends it without a word, for this reason."""
        self._ending = self._ending or ending
        self._socket.transport.abort()

    async def close(self) -> None:
        """Says farewell; a way that takes nothing more is left without."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._socket.close()
        except TimeoutError:
            self._socket.transport.abort()


async def greeted(
    endpoint: Endpoint, token: str | None, options: ClientOptions, tls: ssl.SSLContext | None
) -> Connection:
    """Connects. Raises `Ended` where that fails."""
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            socket = await _open(endpoint, token, options, tls)
            try:
                return Connection(socket, _greeting(await socket.recv()))
            except BaseException:
                socket.transport.abort()
                raise
    except InvalidStatus as refused:
        raise Ended(_refusal(refused)) from None
    except ConnectionClosed as closed:
        raise Ended(_ending_of(closed)) from None
    except TimeoutError:
        reason = f"no connection within {options.connect_timeout_s:g} s"
        raise Ended(closes.lost(reason)) from None
    except (OSError, WebSocketException, EOFError) as error:
        raise Ended(closes.lost(f"no connection: {error}")) from None
    except (ImportError, UnicodeError) as error:
        # A proxy that needs a package, a name that no host can have.
        raise Ended(Ending(f"no connection: {error}", next=Next.NO)) from None


async def _open(
    endpoint: Endpoint, token: str | None, options: ClientOptions, tls: ssl.SSLContext | None
) -> _Heard:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    trust: dict[str, Any] = {"ssl": tls} if tls is not None else {}
    socket = await connect(
        endpoint.multiplexed,
        subprotocols=[Subprotocol(name) for name in _PROTOCOLS[options.protocol]],
        additional_headers=headers,
        compression="deflate" if options.compression else None,
        open_timeout=None,  # The caller has one for all of it.
        ping_interval=None,  # The server's beats tell more, and cost no answer.
        close_timeout=_CLOSE_TIMEOUT_S,
        max_size=options.message_bytes_max,
        max_queue=_READ_AHEAD_MAX,
        create_connection=_Heard,
        **trust,
    )
    return cast("_Heard", socket)


def _greeting(message: str | bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        hello = json.loads(message)["hello"]
        if hello["heartbeat_ms"] > 0:
            return dict(hello)
    raise Ended(closes.lost(f"no greeting came first: {str(message)[:200]}"))


def _ending_of(closed: ConnectionClosed) -> Ending:
    if closed.rcvd is not None and (closed.sent is None or closed.rcvd_then_sent):
        return closes.of_close(closed.rcvd.code, closed.rcvd.reason)
    if closed.sent is not None:
        return closes.of_own_close(closed.sent.code, closed.sent.reason)
    return closes.lost(f"the connection was lost{_because(closed.__cause__)}")


def _because(cause: BaseException | None) -> str:
    return f": {cause}" if cause is not None and str(cause) else ""


def _refusal(refused: InvalidStatus) -> Ending:
    response = refused.response
    reason = (response.body or b"").decode("utf-8", "replace")[:_REASON_CHARS_MAX]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        reason = json.loads(reason)["error"]["message"]
    reason = reason.strip() or response.reason_phrase
    return closes.of_status(response.status_code, reason, response.headers.get("Retry-After"))
