"""What a client is promised while something breaks: publishers that note what was acknowledged,
clients of event streams that note what came and what they were told, and the comparison of both.
Must not know what breaks, nor how."""

import bisect
import itertools
import json
import socket
import threading
import time
import urllib.error
import urllib.request

ANSWER_S = 10


class Broken(Exception):
    """A promise that was not kept."""


class EventStream:
    """A client that goes on at the next node when one is gone, by the id of its last event."""

    def __init__(self, nodes, target):
        self.nodes, self.target = nodes, target
        self.path = f"/v1/feed/{target.replace('#', '%23')}"
        # In the order in which they came: (id, text) of a frame, (None, text) of a gap.
        self.items, self.resumes = [], 0
        self.is_done = False
        self.standing = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def events(self):
        return [item for item in self.items if item[0] is not None]

    @property
    def told(self):
        return [text for place, text in self.items if place is None]

    def _run(self):
        last = None
        for node in itertools.cycle(self.nodes):
            try:
                for place, text in self._follow(node, last):
                    last = place or last
                    self.items.append((place, text))
            except OSError:
                pass
            if self.is_done:
                return
            self.resumes += 1
            time.sleep(0.05)

    def _follow(self, node, last):
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        with socket.create_connection((node.host, node.port), ANSWER_S) as stream:
            # A stream may be silent for longer than an answer may take.
            stream.settimeout(6 * ANSWER_S)
            stream.sendall((f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n"
                            f"Accept: text/event-stream\r\n{resume}\r\n").encode())
            place, name, text = None, "", ""
            for line in stream.makefile(encoding="utf-8", newline="\n"):
                line = line.rstrip("\r\n")
                if line.startswith("HTTP/1.1") and " 200" not in line:
                    return
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("id: "):
                    place = line[4:]
                elif line.startswith("data: "):
                    text = line[6:]
                elif not line:
                    self.standing.set()
                    if text:
                        yield (None if name == "gap" else place), text
                    name, text = "", ""


class Publisher:
    """Publishes `TOPIC NUMBER` to a topic, so many a second at most, until it is told to end."""

    def __init__(self, node, topic, per_second=40):
        self.node, self.topic, self.pause_s = node, topic, 1 / per_second
        self.acknowledged, self.refused = [], 0
        self.is_done = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self):
        self.is_done = True
        self.thread.join(3 * ANSWER_S)

    def _run(self):
        for number in itertools.count():
            if self.is_done:
                return
            try:
                publish_once(self.node, self.topic, f"{self.topic} {number}")
                self.acknowledged.append(number)
            except OSError:
                # It may be in the log all the same, so its number is not used again.
                self.refused += 1
            time.sleep(self.pause_s)


def publish_once(node, topic, text):
    """Where it stands. Raises `OSError` where it was refused, or nobody answers."""
    request = urllib.request.Request(f"{node.url}/v1/publish/{topic}", text.encode(),
                                     {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        said = json.loads(answer.read())
        return f"{said['epoch']}-{said['seq']}"


def publish(node, topic, text, seconds=60):
    """The same, tried again for as long as there is no room for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return publish_once(node, topic, text)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.1)
    raise Broken("a publish was not taken")


def check_accounted(stream, acknowledged):
    """Every number of `acknowledged` (by topic) came once and in order, or a gap was told where it
    is missing."""
    last, is_told = dict.fromkeys(acknowledged, -1), dict.fromkeys(acknowledged, False)
    wanted = {topic: sorted(numbers) for topic, numbers in acknowledged.items()}
    for place, text in stream.items:
        if place is None:
            is_told = dict.fromkeys(is_told, True)
            continue
        topic, number = text.split(" ")
        number = int(number)
        if number <= last[topic] and not is_told[topic]:
            raise Broken(f"{stream.target}: {text} after {last[topic]}: twice or out of order")
        numbers = wanted[topic]
        missing = numbers[bisect.bisect_right(numbers, last[topic]):
                          bisect.bisect_left(numbers, number)]
        if missing and not is_told[topic]:
            raise Broken(f"{stream.target}: {len(missing)} of {topic} from {missing[0]} on are "
                         "lost, and nobody was told")
        last[topic], is_told[topic] = number, False
    for topic, numbers in wanted.items():
        if numbers and last[topic] < numbers[-1]:
            raise Broken(f"{stream.target}: {topic} ends at {last[topic]}, {numbers[-1]} was "
                         "acknowledged")


def has_come(stream, acknowledged):
    """Whether the last of each topic is there."""
    return all(not numbers or any(text == f"{topic} {numbers[-1]}" for _, text in stream.items)
               for topic, numbers in acknowledged.items())
