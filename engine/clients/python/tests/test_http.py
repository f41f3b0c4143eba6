"""What goes over HTTP: the past, and many messages at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from server import Server
from waiting import within

from gridcast import BatchReply, Client, Gap, HttpError, Message, Position, Record


async def everything(client: Client, topic: str, **options: Any) -> list[Record | Gap]:
    return await within(_listed(client, topic, options))


async def _listed(client: Client, topic: str, options: Any) -> list[Record | Gap]:
    return [record async for record in client.history(topic, **options)]


def texts(records: list[Record | Gap]) -> list[str | bytes]:
    return [record.message.data for record in records if isinstance(record, Record)]


async def test_the_past_is_followed_to_its_end(server: Server) -> None:
    async with Client(server.url) as client:
        await client.publish_many(("pmu/1", number) for number in range(25))
        records = await everything(client, "pmu/1", page=10)
        assert texts(records) == [str(number) for number in range(25)]
        assert server.metric("gridcast_history_records_total") == 25
        first = records[0]
        assert isinstance(first, Record)
        assert (first.message.topic, first.message.seq) == ("pmu/1", 1)
        assert abs(first.time_ms / 1000 - datetime.now(UTC).timestamp()) < 60
        behind = await everything(client, "pmu/1", from_=first.message.position, page=7)
        assert texts(behind) == [str(number) for number in range(1, 25)]
        until = Position(first.message.epoch, 3)
        assert texts(await everything(client, "pmu/1", to=until)) == ["0", "1", "2"]
        since = await everything(client, "pmu/1", from_=datetime(2020, 1, 1, tzinfo=UTC))
        assert texts(since) == [str(number) for number in range(25)]


async def test_payloads_of_the_past_are_as_they_were_published(server: Server) -> None:
    bodies: list[str | bytes] = ["grüße", b"\x00\xff", '{"a" : 1}', "", b"", " 1"]
    for body in bodies:
        await asyncio.to_thread(server.post, "t", body)
    async with Client(server.url) as client:
        assert texts(await everything(client, "t")) == bodies


async def test_what_is_missing_from_the_past_is_told(start: Any) -> None:
    server = await start(retention__frames_max=2)
    replies = [server.post("t", str(number)) for number in range(5)]
    async with Client(server.url) as client:
        epoch = replies[0]["epoch"]
        records = await everything(client, "t", from_=f"{epoch}-1")
        assert records[0] == Gap("t", epoch, 2, 3, 2, "expired")
        assert texts(records) == ["3", "4"]
        records = await everything(client, "t", from_="other-1")
        assert records[0] == Gap("t", epoch, 0, 3, None, "epoch")


async def test_refusals_of_history_have_codes(server: Server) -> None:
    async with Client(server.url) as client:
        for topic, options, code in [
            ("nothing", {}, "not_found"),
            ("t", {"from_": "sometimes"}, "bad_request"),
        ]:
            with pytest.raises(HttpError) as refused:
                await everything(client, topic, **options)
            assert refused.value.code == code
        for wrong in ({"page": 0}, {"from_": datetime(2020, 1, 1)}):
            with pytest.raises(ValueError, match=r"page|time zone"):
                await everything(client, "t", **wrong)


async def test_a_server_that_is_gone_is_told(server: Server) -> None:
    async with Client(server.url) as client:
        await within(client.connected())
        await server.kill()
        with pytest.raises(HttpError) as error:
            await everything(client, "t")
        assert (error.value.status, error.value.code) == (0, "no_answer")


async def test_many_messages_are_published_in_order(server: Server) -> None:
    async with Client(server.url) as client:
        subscription = client.subscribe("#")
        await within(subscription.ready())
        sent: list[tuple[str, Any]] = [("a", {"v": 1}), ("b", b"\xff"), ("a", "plain")]
        assert await within(client.publish_many(sent)) == BatchReply(3, 0)
        got = [await within(anext(subscription)) for _ in sent]
        assert [(each.topic, each.data) for each in got if isinstance(each, Message)] == [
            ("a", '{"v":1}'),
            ("b", b"\xff"),
            ("a", "plain"),
        ]


async def test_one_wrong_message_of_many_is_told(server: Server) -> None:
    async with Client(server.url) as client:
        reply = await within(client.publish_many([("a", 1), ("a//b", 2), ("c", 3)]))
        assert (reply.published, reply.failed, reply.line) == (2, 1, 2)
        assert reply.error is not None
        assert reply.error.startswith("bad_request: ")


async def test_polling_brings_every_message_once(start: Any) -> None:
    server = await start(poll__records_max=3)
    async with Client(server.url) as client:
        await client.publish_many(("pmu/1", number) for number in range(5))
        polling = client.poll("pmu/1", from_="oldest", wait_s=5)
        got = [await within(anext(polling)) for _ in range(5)]
        assert texts(got) == ["0", "1", "2", "3", "4"]
        following = asyncio.create_task(_next(polling))
        await server.until_metric('gridcast_connections{role="poll"}', 1)
        await client.publish("pmu/1", "five")
        assert texts([await within(following)]) == ["five"]


async def _next(polling: AsyncIterator[Record | Gap]) -> Record | Gap:
    return await anext(polling)


async def test_a_poll_of_a_pattern_goes_on_from_where_it_began(server: Server) -> None:
    async with Client(server.url) as client:
        following = asyncio.create_task(_next(client.poll("bay/+", wait_s=5)))
        await server.until_metric('gridcast_connections{role="poll"}', 1)
        await asyncio.to_thread(server.post, "bay/7", "open")
        record = await within(following)
        assert isinstance(record, Record)
        assert (record.message.topic, record.message.pattern) == ("bay/7", "bay/+")


async def test_a_poll_that_cannot_be_is_refused(server: Server) -> None:
    async with Client(server.url) as client:
        with pytest.raises(HttpError, match="bad_request"):
            await within(anext(client.poll("a//b")))
        for wrong in (0, 51, -1):
            with pytest.raises(ValueError, match="wait_s"):
                await within(anext(client.poll("a", wait_s=wrong)))
