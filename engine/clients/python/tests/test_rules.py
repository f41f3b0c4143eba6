"""What decides without a socket: delays, close codes, liveness, the queue, the wire, options."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from server import PROGRAM

from gridcast import Client, Clock, Gap, Message, Position, Restarted, Resumed, closes, wire
from gridcast.backoff import Backoff
from gridcast.closes import Next
from gridcast.endpoint import Endpoint
from gridcast.errors import ClosedError, WireError
from gridcast.feed import Feed
from gridcast.inbox import Inbox
from gridcast.liveness import Liveness, Verdict
from gridcast.options import ClientOptions, SubscribeOptions

# ---- delays ----


def longest() -> Backoff:
    """The longest delays there can be."""
    return Backoff(0.5, 20.0, lambda _, ceiling_s: ceiling_s)


def test_delays_double_up_to_a_ceiling() -> None:
    backoff = longest()
    delays = [backoff.delay_s(closes.lost("")) for _ in range(8)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 20, 20]
    for _ in range(2000):
        assert backoff.delay_s(closes.lost("")) == 20


def test_delays_are_spread_over_all_of_it() -> None:
    delays = [Backoff(0.5, 20.0).delay_s(closes.lost("")) for _ in range(400)]
    assert min(delays) < 0.1
    assert 0.4 < max(delays) <= 0.5


def test_a_connection_that_stood_begins_anew() -> None:
    backoff = longest()
    assert [backoff.delay_s(closes.lost(""), 9.9) for _ in range(3)] == [0.5, 1, 2]
    assert backoff.delay_s(closes.lost(""), 10.0) == 0.5


def test_at_once_is_only_for_the_first_time() -> None:
    backoff, lagged = longest(), closes.of_close(4409, "")
    assert [backoff.delay_s(lagged) for _ in range(3)] == [0, 1, 2]
    assert backoff.delay_s(lagged, 10.0) == 0


def test_a_delay_of_the_server_is_obeyed() -> None:
    backoff = longest()
    assert backoff.delay_s(closes.of_close(1001, "draining: reconnect in 7321 ms")) == 7.321
    assert backoff.delay_s(closes.of_close(1001, "draining")) == 1.0
    assert backoff.delay_s(closes.of_status(503, "full", "3")) == 3 + 2
    assert backoff.delay_s(closes.of_status(503, "full", "Mon, 30 Nov")) == 4


def test_the_table_of_close_codes_is_the_servers() -> None:
    table = subprocess.run([PROGRAM, "close-codes"], capture_output=True, text=True, check=True)
    rows = [line.split()[:2] for line in table.stdout.splitlines()[1:]]
    assert len(rows) >= 14
    for code, after in rows:
        assert closes.of_close(int(code), "").next is Next(after), code
    assert closes.of_close(1012, "a proxy's").next is Next.LATER


def test_refused_handshakes_are_about_the_request_or_the_moment() -> None:
    for status in (400, 401, 403, 404, 405, 406, 414, 426, 431):
        assert closes.of_status(status, "", None).next is Next.NO, status
    for status in (408, 429, 500, 502, 503, 504):
        assert closes.of_status(status, "", None).next is Next.LATER, status


# ---- liveness ----


class Hands(Clock):
    """A clock moved by hand."""

    now_s = wall = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.wall

    def passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall += seconds


def test_silence_of_two_heartbeats_is_death() -> None:
    clock = Hands()
    liveness = Liveness(15.0, clock)
    assert (liveness.silence_s_max, liveness.look_s) == (30, 1)
    verdicts = []
    for _ in range(32):
        verdicts.append(liveness.look(7))
        clock.passes(1)
    assert verdicts == [Verdict.ALIVE] * 30 + [Verdict.DEAD] * 2
    assert liveness.look(8) is Verdict.ALIVE


@pytest.mark.parametrize("jump", ["wall", "both"])
def test_a_jump_of_a_clock_is_doubt(jump: str) -> None:
    clock = Hands()
    liveness = Liveness(15.0, clock)
    liveness.look(1)
    clock.wall += 31
    clock.now_s += 31 if jump == "both" else 0
    assert liveness.look(1) is Verdict.DOUBTFUL
    liveness.answered()
    clock.passes(1)
    assert liveness.look(1) is Verdict.ALIVE


def test_a_clock_that_is_set_back_changes_nothing() -> None:
    clock = Hands()
    liveness = Liveness(15.0, clock)
    liveness.look(1)
    clock.wall -= 3600
    clock.now_s += 1
    assert liveness.look(1) is Verdict.ALIVE


# ---- the queue ----


def message(seq: int, topic: str = "t", epoch: str = "k1") -> Message:
    return Message(topic, str(seq), seq, epoch)


async def taken(inbox: Inbox) -> list[Any]:
    inbox.end(ClosedError())
    items = []
    while True:
        try:
            items.append(await inbox.take())
        except ClosedError:
            return items


async def test_what_is_dropped_adds_up_over_all_kinds() -> None:
    inbox = Inbox(2)
    for item in (
        message(1),
        Gap("t", "k1", 2, 4, 3, "lagged"),
        Resumed("t", Position("k1", 4)),
        message(5),
        message(6),
        message(7),
    ):
        inbox.put(item, "t")
    assert await taken(inbox) == [Gap("t", "k1", 1, 5, 5, "queue"), message(6), message(7)]


async def test_a_dropped_restart_is_told_all_the_same() -> None:
    inbox = Inbox(1)
    for item in (
        message(9),
        Restarted("t", "k1", "k2"),
        Gap("t", "k2", 0, 0, None, "epoch"),
        Restarted("t", "k2", "k3"),
        message(1, epoch="k3"),
        message(2, epoch="k3"),
    ):
        inbox.put(item, "t")
    assert await taken(inbox) == [
        Restarted("t", "k1", "k3"),
        Gap("t", "k3", 0, 1, None, "queue"),
        message(2, epoch="k3"),
    ]


async def test_conflation_is_bounded_as_well() -> None:
    inbox = Inbox(3, conflates=True)
    for seq in range(1, 11):
        inbox.put(message(seq, topic=f"t/{seq % 5}"), "t/#")
    items = await taken(inbox)
    assert items[0] == Gap("t/#", "k1", 1, 7, 7, "queue")
    assert [item.seq for item in items[1:]] == [8, 9, 10]


async def test_conflated_frames_of_the_server_and_of_here_are_one_gap() -> None:
    inbox = Inbox(9, conflates=True)
    inbox.put(message(1), "t")
    inbox.put(Gap("t", "k1", 2, 5, 4, "conflated"), "t")
    inbox.put(message(6), "t")
    assert await taken(inbox) == [Gap("t", "k1", 1, 5, 5, "conflated"), message(6)]


async def test_what_the_server_jumped_over_is_told_behind_what_came_before() -> None:
    inbox = Inbox(9, conflates=True)
    inbox.put(message(1), "t")
    inbox.put(Gap("t", "k1", 2, 5, 4, "conflated"), "t")
    assert await taken(inbox) == [message(1), Gap("t", "k1", 2, 5, 4, "conflated")]


async def test_it_pauses_when_full_and_goes_on_when_half_empty() -> None:
    calls: list[str] = []
    inbox = Inbox(4, pauses=lambda: calls.append("pause"), goes_on=lambda: calls.append("go on"))
    for seq in range(1, 5):
        assert calls == []
        inbox.put(message(seq), "t")
    assert calls == ["pause"]
    await inbox.take()
    assert calls == ["pause"]
    await inbox.take()
    assert calls == ["pause", "go on"]


# ---- a subscription ----


async def test_a_position_moves_with_what_is_received_and_with_nothing_else() -> None:
    """The gap behind an answer may be cut off, and has to be told again the next time."""
    feed = Feed("t", SubscribeOptions(), pauses=lambda _: None, goes_on=lambda _: None)
    assert feed.fields() == {"topic": "t", "from": "latest"}
    feed.subscribed("k1", 3)
    for epoch, seq in (("k1", 9), ("k2", 0)):
        feed.cut()
        feed.subscribed(epoch, seq)
        assert feed.fields() == {"topic": "t", "from": "k1-3"}
    feed.gap(0, 5, None, "epoch")
    assert feed.fields()["from"] == "k2-5"
    assert await taken(feed.inbox) == [
        Resumed("t", Position("k1", 3)),
        Restarted("t", "k1", "k2"),
        Gap("t", "k2", 0, 5, None, "epoch"),
    ]


# ---- the wire ----


def test_numbers_are_leb128() -> None:
    for encoded, value in [(b"\x00", 0), (b"\x7f", 127), (b"\xac\x02", 300)]:
        assert wire.varint(encoded + b"rest", 0) == (value, len(encoded))
    assert wire.varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)


def test_envelopes_that_are_none_are_refused() -> None:
    for broken in (b"", b"\x80", b"\x01\x01", b"\xff" * 11, b"\x01\x01\x01\xff"):
        with pytest.raises(WireError):
            wire.binary(broken)
    for text in ("", "[]", "{", '{"a"}', '{"a":}', '{"a":1', '{"a":' + "[" * 100_000, "nonsense"):
        with pytest.raises(WireError):
            wire.members(text)
    for told in ({"seq": 1}, {"data64": "?"}):
        with pytest.raises(WireError):
            wire.text_data(told, "")


def test_members_are_read_as_json_is_and_data_as_it_stands() -> None:
    for text, raw in [
        ('{"topic":"a","seq":1,"data":{"b": [1 , 2]}}', '{"b": [1 , 2]}'),
        ('{"topic":"a","data": "x"\t,"seq":1}', ' "x"\t'),
        (' { "data" : 1.50 } ', " 1.50 "),
        ('{"topic":"\\"data\\":","data":"},{\\"data\\":1"}', '"},{\\"data\\":1"'),
        ("{}", ""),
    ]:
        assert wire.members(text) == (json.loads(text), raw)


def test_commands_are_json() -> None:
    text = wire.publish(3, 'a"b', wire.payload({"é": [1]}))
    assert json.loads(text) == {"id": 3, "publish": {"topic": 'a"b', "data": {"é": [1]}}}


# ---- options ----


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"protocol": "xml"}, "protocol='xml': none of auto, bin, json"),
        ({"connect_timeout_s": 0}, "connect_timeout_s=0: 0.05 to 600"),
        ({"publishes_max": 1.5}, "a whole number"),
        ({"message_bytes_max": True}, "a whole number"),
        ({"reconnect_s_min": "1"}, "a number is needed"),
        ({"reconnect_s_min": 30}, "must not be below reconnect_s_min=30"),
    ],
)
def test_wrong_options_of_a_client_are_named(options: dict[str, Any], part: str) -> None:
    with pytest.raises((ValueError, TypeError), match=part):
        Client("ws://localhost", **options)
    assert ClientOptions().protocol == "auto"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"from_": "first"}, "from_: none of latest, last, oldest"),
        ({"from_": 7}, "from_"),
        ({"mode": "newest"}, "mode='newest'"),
        ({"rate": 0}, "rate=0: 1 to 1000"),
        ({"lag": "skip"}, "lag='skip'"),
        ({"queue_max": 0}, "queue_max=0"),
        ({"mode": "latest", "lag": "disconnect"}, "lag='disconnect' belongs to"),
    ],
)
def test_wrong_options_of_a_subscription_are_named(options: dict[str, Any], part: str) -> None:
    with pytest.raises((ValueError, TypeError), match=part):
        SubscribeOptions(**options)


def test_positions_are_read_and_written() -> None:
    assert str(Position.parse("eb2jw-42")) == "eb2jw-42"
    assert SubscribeOptions(from_="k1-3").position() == Position("k1", 3)
    for wrong in ("", "k1", "k1-", "-1", "K1-1", "k1-1 "):
        with pytest.raises(ValueError, match="a position is"):
            Position.parse(wrong)


def test_the_server_is_named_by_a_url() -> None:
    endpoint = Endpoint.parse("wss://example.org/base/")
    assert endpoint.multiplexed == "wss://example.org/base/v1/ws?hello=1"
    assert endpoint.publish("a/ü#") == "https://example.org/base/v1/publish/a/%C3%BC%23"
    for wrong in (
        "example.org",
        "ftp://a",
        "ws://",
        "ws://u:p@a",
        "ws://a?token=1",
        "ws://a#b",
        "ws://a:0",
        "ws://a:x",
    ):
        with pytest.raises(ValueError, match=r"url|[Pp]ort"):
            Endpoint.parse(wrong)
