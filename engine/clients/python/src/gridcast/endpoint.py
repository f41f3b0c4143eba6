"""Where the server is: the base URL of its endpoints. Must not connect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

_SCHEMES = {
    "ws": ("ws", "http"),
    "http": ("ws", "http"),
    "wss": ("wss", "https"),
    "https": ("wss", "https"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The same place for both protocols; a path in the base, as of a proxy, is kept."""

    websocket: str
    http: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Reads `ws://host:port`, with or without a path; `wss`, `http` and `https` likewise."""
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"url: ws://host:port or wss://host is needed, not {url!r}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url: no user, query or fragment here; a token goes into `token`")
        if parts.port == 0:  # Reading it refuses what is no port.
            raise ValueError("url: port 0 is none to connect to")
        base = parts.netloc + parts.path.rstrip("/")
        websocket, http = _SCHEMES[parts.scheme]
        return cls(f"{websocket}://{base}", f"{http}://{base}")

    @property
    def multiplexed(self) -> str:
        """Many topics on one socket, with a greeting."""
        return f"{self.websocket}/v1/ws?hello=1"

    def publish(self, topic: str | None = None) -> str:
        """One message to a topic, or many."""
        return f"{self.http}/v1/publish" + (f"/{quote(topic)}" if topic else "")

    def history(self, topic: str, query: dict[str, str]) -> str:
        """What was published before."""
        return f"{self.http}/v1/history/{quote(topic)}?{urlencode(query)}"

    def poll(self, target: str, query: dict[str, str]) -> str:
        """What comes next."""
        return f"{self.http}/v1/poll/{quote(target)}?{urlencode(query)}"
