"""A relay in front of an engine that ends what does not end by itself: an event stream once it is
silent, and a WebSocket after its handshake. So a client that waits for whole answers can be used.
Must not change what it passes on, but for that end."""

import contextlib
import re
import socket
import threading

CONNECT_S = 10
# How long a stream is looked at after its last chunk: what is kept comes at once.
SILENCE_S = 0.05
STREAM_BYTES_MAX = 1 << 20
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Relay:
    """Listens on a free port of loopback, from entering to leaving a `with`."""

    def __init__(self, engine_port):
        self.engine_port, self.listener = engine_port, None

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self):
        # Ends with an error once the listener is closed.
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, socket.create_connection(
            ("127.0.0.1", self.engine_port), CONNECT_S
        ) as engine:
            engine.settimeout(None)
            threading.Thread(target=pump, args=(client, engine), daemon=True).start()
            answer(engine, client)
            # The pump of the other direction waits for the client.
            client.shutdown(socket.SHUT_RDWR)


def pump(client, engine):
    """Requests, until the client or the engine is gone."""
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            engine.sendall(data)
        engine.shutdown(socket.SHUT_WR)


def answer(engine, client):
    """Answers, until one is of the kind that does not end."""
    while data := engine.recv(65536):
        head, end, body = data.partition(HEAD_END)
        if re.match(rb"HTTP/1.1 101 ", data):
            return client.sendall(head + end)
        if re.match(rb"HTTP/1.1 200 ", data) and b"Content-Type: text/event-stream" in head:
            return client.sendall(head + end + stream(engine, body))
        client.sendall(data)
    return None


def stream(engine, body):
    """The chunks that come until the stream is silent, and the end."""
    engine.settimeout(SILENCE_S)
    with contextlib.suppress(TimeoutError):
        while len(body) < STREAM_BYTES_MAX and (data := engine.recv(65536)):
            body += data
    return whole_chunks(body) + LAST_CHUNK


def whole_chunks(body):
    """The chunks that are complete, without the last one of a stream that ended by itself."""
    at = 0
    while (found := re.compile(rb"([0-9a-fA-F]+)\r\n").match(body, at)) and found[1].strip(b"0"):
        end = found.end() + int(found[1], 16) + 2
        if end > len(body):
            break
        at = end
    return body[:at]
