"""Requests over HTTP, by the standard library alone: publishing, and pages of the past. They block:
call them in a thread. Must not interpret a page."""

from __future__ import annotations

import contextlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message as Headers
from http.client import HTTPException
from typing import Any

from gridcast import wire
from gridcast.endpoint import Endpoint
from gridcast.errors import HttpError
from gridcast.items import Published

# The server answers a question to a store within 10 s, and takes a body within 30 s.
TIMEOUT_S = 60.0
# The highest value of history.bytes_max: an answer that is larger is none of the server's.
_ANSWER_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class BatchReply:
    """What became of many messages. `error` tells of the first that failed, on which line."""

    published: int
    failed: int
    error: str | None = None
    line: int | None = None


class Http:
    """The endpoints of one server, for one token."""

    def __init__(self, endpoint: Endpoint, token: str | None, tls: ssl.SSLContext | None) -> None:
        self._endpoint, self._token = endpoint, token
        handlers = [urllib.request.HTTPSHandler(context=tls)] if tls is not None else []
        self._opener = urllib.request.build_opener(*handlers)

    def publish(self, topic: str, data: object) -> Published:
        """Publishes one message."""
        body, kind = _body(data)
        reply = json.loads(self._ask(self._endpoint.publish(topic), body, kind))
        return Published(reply["epoch"], reply["seq"], reply["subscribers"])

    def publish_many(self, messages: Iterable[tuple[str, object]]) -> BatchReply:
        """Publishes pairs of topic and data in order; one that fails does not stop the next."""
        lines = [
            f'{{"topic":{wire.as_json(topic)},{wire.payload(data)}}}\n' for topic, data in messages
        ]
        try:
            answer = self._ask(
                self._endpoint.publish(), "".join(lines).encode(), "application/x-ndjson"
            )
        except _BatchFailed as failed:
            return failed.reply
        return _batch_reply(json.loads(answer))

    def history(self, topic: str, query: dict[str, str]) -> list[str]:
        """The lines of a page."""
        return self._ask(self._endpoint.history(topic, query)).decode().splitlines()

    def poll(self, target: str, query: dict[str, str]) -> list[str]:
        """The lines of an answer to a poll, which may wait."""
        return self._ask(self._endpoint.poll(target, query)).decode().splitlines()

    def _ask(self, url: str, body: bytes | None = None, kind: str = "") -> bytes:
        request = urllib.request.Request(url, body)  # noqa: S310  (an Endpoint is http or https)
        if body is not None:
            request.add_header("Content-Type", kind)
        if self._token is not None:
            # Not passed on to where a redirect leads.
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read(_ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.headers, error.read()) from None
        except (OSError, HTTPException) as error:
            raise HttpError(0, "no_answer", f"{url.partition('?')[0]}: {error}") from None


class _BatchFailed(Exception):
    def __init__(self, reply: BatchReply) -> None:
        super().__init__(reply)
        self.reply = reply


def _body(data: object) -> tuple[bytes, str]:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), "application/octet-stream"
    if isinstance(data, str):
        return data.encode(), "text/plain"
    return wire.as_json(data).encode(), "application/json"


def _batch_reply(reply: dict[str, Any]) -> BatchReply:
    error = reply.get("error", {})
    message = f"{error['code']}: {error['message']}" if error else None
    return BatchReply(reply["published"], reply["failed"], message, error.get("line"))


def _refusal(status: int, headers: Headers, body: bytes) -> Exception:
    code, message = "http", body.decode("utf-8", "replace")[:500]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        answer = json.loads(body)
        if "published" in answer:
            return _BatchFailed(_batch_reply(answer))
        code, message = answer["error"]["code"], answer["error"]["message"]
    after = headers.get("Retry-After", "")
    return HttpError(
        status, code, message, retry_after_s=float(after) if after.isdecimal() else None
    )
