"""The real server as a process of its own: started, ended in every way, started again at the same
port. Must not know what a test expects.

The program is that of the variable GRIDCAST, or else target/debug/gridcast of the repository.
TEST_PORTS=LOW-HIGH has ports taken from there; without it any free one is."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from waiting import DEADLINE_S, until

_REPOSITORY = Path(__file__).resolve().parent / "../../../.."
PROGRAM = Path(os.environ.get("GRIDCAST") or _REPOSITORY / "target" / "debug" / "gridcast")


class Server:
    """A server with these settings, from `start` to `end`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder, self.settings = folder, settings
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> Server:
        """Starts it, at the same port as before."""
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".log", delete=False) as log:
            # Settings of whoever runs the tests are not those of the tests.
            clean = {key: text for key, text in os.environ.items() if "GRIDCAST" not in key}
            self._process = subprocess.Popen(self._command(), stderr=log, env=clean)
        said = Path(log.name)
        await until(lambda: self._is_listening(said), "the server listens")
        return self

    def _command(self) -> list[str]:
        command = [str(PROGRAM), "--listen", f"127.0.0.1:{self._port}", "--cores", "1"]
        for name, value in self.settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["--set", f"{name.replace('__', '.', 1)}={text}"]
        return command

    def _is_listening(self, log: Path) -> bool:
        if self._running.poll() is not None:
            raise AssertionError(f"the server ended at once:\n{log.read_text()}")
        return re.search(r"listening.*address=", log.read_text()) is not None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    async def ended(self) -> None:
        """Waits until the process is gone."""
        await until(lambda: self._running.poll() is not None, "the server ends")

    async def kill(self) -> None:
        """Ends it without a word."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def end(self) -> None:
        """Ends it, whatever its state."""
        if self._process is not None and self._process.poll() is None:
            await self.kill()

    def post(self, topic: str, data: str | bytes, token: str | None = None) -> dict[str, Any]:
        """Publishes by other means than the client's."""
        kind = "text/plain" if isinstance(data, str) else "application/octet-stream"
        body = data.encode() if isinstance(data, str) else data
        url = f"http://127.0.0.1:{self._port}/v1/publish/{topic}"
        request = urllib.request.Request(url, body, {"Content-Type": kind})
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return dict(json.load(answer))

    def metric(self, name: str) -> float:
        """A metric with its labels."""
        url = f"http://127.0.0.1:{self._port}/metrics"
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            lines = answer.read().decode().splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.rsplit(" ", 1)[0] == name]
        return float(values[0]) if values else 0.0

    async def until_metric(self, name: str, value: float) -> None:
        """Waits until a metric has this value."""
        await until(lambda: self.metric(name) == value, f"{name} is {value}")


def free_port() -> int:
    """A port that nobody listens at."""
    ports = os.environ.get("TEST_PORTS")
    if ports is None:
        return _bound(0)
    low, high = (int(end) for end in ports.split("-"))
    candidates = list(range(low, high + 1))
    random.shuffle(candidates)
    return next(port for port in candidates if _bound(port))


def _bound(port: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


async def post_numbers(server: Server, topic: str, first: int, last: int) -> None:
    """Publishes numbers as text, one request each."""
    for number in range(first, last + 1):
        await asyncio.to_thread(server.post, topic, str(number))
