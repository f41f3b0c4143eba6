"""A WebSocket client that shows every frame, pings as well. Must not know what messages mean."""

import json
import socket

from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri

from description import Unfit

ANSWER_S = 10


class Socket:
    """A client that sees pings as well."""

    def __init__(self, address, path, subprotocol=None):
        self.events = []
        offered = [subprotocol] if subprotocol else None
        self.protocol = ClientProtocol(parse_uri(f"ws://{address}{path}"), subprotocols=offered)
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), ANSWER_S)
        self.protocol.send_request(self.protocol.connect())
        self._flush()
        self._next()
        if self.protocol.handshake_exc:
            raise Unfit(f"{path}: {self.protocol.handshake_exc}")

    def send(self, message):
        """A command or a text, or bytes."""
        if isinstance(message, bytes):
            self.protocol.send_binary(message)
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self.protocol.send_text(text.encode())
        self._flush()

    def next_frame(self):
        frame = self._next()
        return frame.opcode, bytes(frame.data)

    def next_text(self):
        opcode, data = self.next_frame()
        if opcode is not Opcode.TEXT:
            raise Unfit(f"{opcode.name} {data!r} instead of a text")
        return data.decode()

    def _next(self):
        while not self.events:
            if not (data := self.socket.recv(65536)):
                raise Unfit("the connection ended")
            self.protocol.receive_data(data)
            self.events += self.protocol.events_received()
        return self.events.pop(0)

    def _flush(self):
        for data in self.protocol.data_to_send():
            self.socket.sendall(data)
