"""Subscribing and publishing where nothing fails, with both subprotocols."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from server import Server
from waiting import an, data, item, until, within

import gridcast
from gridcast import Client, CommandError, Message, Position

# What is published, and what a subscriber gets of it.
PAYLOADS: list[tuple[Any, str | bytes]] = [
    ("grüße 🙂", "grüße 🙂"),
    (b"\x00\xff", b"\x00\xff"),
    ("", ""),
    (b"", b""),
    ({"hz": 59.98, "name": "Zürich"}, '{"hz":59.98,"name":"Zürich"}'),
    ([1, None, True], "[1,null,true]"),
    (18446744073709551616, "18446744073709551616"),
    ('{"a": 1}', '{"a": 1}'),
    (' "spaced"\t', ' "spaced"\t'),
    ('{"data":1,"seq":2,"topic":"other"}', '{"data":1,"seq":2,"topic":"other"}'),
    ("x" * 200_000, "x" * 200_000),
]


async def test_what_is_published_comes_as_it_was(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("a/b")
        for number, (sent, got) in enumerate(PAYLOADS, 1):
            reply = await within(client.publish("a/b", sent))
            message = await an(Message, subscription)
            assert (reply.seq, reply.subscribers) == (number, 1)
            assert message == Message("a/b", got, number, reply.epoch)
            assert message.position == reply.position


async def test_data_of_other_publishers_comes_as_it_was(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        bodies: list[str | bytes] = [
            '{"b" :  [1.50, 1e999]}',
            "plain",
            b"\xff",
            "NaN",
            '{"a":"\\u00e4"}',
        ]
        for body in bodies:
            await asyncio.to_thread(server.post, "t", body)
            assert await data(subscription, 1) == [body]


async def test_json_is_read_on_request(server: Server) -> None:
    async with Client(server.url) as client:
        subscription = client.subscribe("t")
        await within(client.publish("t", {"hz": 50}))
        assert (await an(Message, subscription)).json() == {"hz": 50}


async def test_a_subscription_begins_where_it_is_asked_to(server: Server, protocol: Any) -> None:
    replies = [server.post("t", str(number)) for number in range(1, 4)]
    position = Position(replies[0]["epoch"], replies[0]["seq"])
    beginnings: list[tuple[str | Position, list[str]]] = [
        ("last", ["3"]),
        ("oldest", ["1", "2", "3"]),
        (position, ["2", "3"]),
        (str(position), ["2", "3"]),
    ]
    for from_, expected in beginnings:
        async with Client(server.url, protocol=protocol) as client:
            subscription = client.subscribe("t", from_=from_)
            assert await data(subscription, len(expected)) == expected, from_
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t")
        assert await within(subscription.ready()) == Position(position.epoch, 3)
        server.post("t", "4")
        assert await data(subscription, 1) == ["4"]


async def test_overlapping_subscriptions_get_a_copy_each(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        targets = ["pmu/#", "pmu/1", "+/1", "#"]
        subscriptions = {target: client.subscribe(target) for target in targets}
        await within(asyncio.gather(*(each.ready() for each in subscriptions.values())))
        await within(client.publish("pmu/2", "0"))
        await within(client.publish("pmu/1", "1"))
        for target, subscription in subscriptions.items():
            pattern = None if target == "pmu/1" else target
            if target in ("pmu/#", "#"):
                message = await an(Message, subscription)
                assert (message.topic, message.data, message.seq) == ("pmu/2", "0", 1)
            message = await an(Message, subscription)
            assert (message.topic, message.data, message.pattern) == ("pmu/1", "1", pattern)
            assert subscription.queued == 0


async def test_thousands_of_subscriptions_share_a_socket(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        subscriptions = [client.subscribe(f"t/{number}") for number in range(3000)]
        await within(asyncio.gather(*(each.ready() for each in subscriptions)))
        assert server.metric('gridcast_connections{role="multiplexed"}') == 1
        reply = await client.publish_many((f"t/{n}", n) for n in range(3000))
        assert (reply.published, reply.failed) == (3000, 0)
        for number, subscription in enumerate(subscriptions):
            assert await data(subscription, 1) == [str(number)]


async def test_many_publishes_are_in_flight_at_once_and_in_order(server: Server) -> None:
    async with Client(server.url, publishes_max=50) as client:
        replies = await within(asyncio.gather(*(client.publish("t", n) for n in range(1000))))
        assert [reply.seq for reply in replies] == list(range(1, 1001))


async def test_a_subscription_precedes_what_is_published_after_it(
    server: Server, protocol: Any
) -> None:
    async with Client(server.url, protocol=protocol) as client:
        await within(client.connected())
        for number in range(50):
            subscription = client.subscribe(f"t/{number}")
            await within(client.publish(f"t/{number}", number))
            assert await data(subscription, 1) == [str(number)]


# ---- leaving ----


async def test_a_closed_subscription_ends_here_and_there(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        async with client.subscribe("t") as subscription:
            await within(subscription.ready())
        assert [item async for item in subscription] == []
        reply = await within(client.publish("t", 1))
        assert reply.subscribers == 0
        again = client.subscribe("t", from_="oldest")
        assert await data(again, 1) == ["1"]


async def test_breaking_out_of_the_loop_unsubscribes(server: Server) -> None:
    async with Client(server.url) as client:
        await within(client.connected())
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(client.publish("t", 1)))
        async for message in client.subscribe("t"):
            assert isinstance(message, Message)
            break
        del message
        gc.collect()
        while (await within(client.publish("t", 2))).subscribers:
            pass
        client.subscribe("t")


async def test_a_topic_is_subscribed_once(server: Server) -> None:
    async with Client(server.url) as client:
        first = client.subscribe("t")
        with pytest.raises(CommandError, match="already_subscribed"):
            client.subscribe("t")
        await first.close()
        await within(client.subscribe("t").ready())


async def test_closing_the_client_ends_everything(server: Server) -> None:
    async with Client(server.url) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        waiting = asyncio.create_task(anext(subscription, None))
    assert await within(waiting) is None
    await server.until_metric('gridcast_connections{role="multiplexed"}', 0)
    with pytest.raises(gridcast.ClosedError):
        await client.publish("t", 1)
    with pytest.raises(gridcast.ClosedError):
        client.subscribe("t")
    assert client.state.phase == "closed"


# ---- refusals ----


async def test_refusals_have_the_code_of_the_server(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        with pytest.raises(CommandError) as refused:
            await within(client.publish("$sys/x", 1))
        assert refused.value.code == "forbidden"
        assert "engine's own" in refused.value.message
        subscription = client.subscribe("a//b")
        with pytest.raises(CommandError) as refused:
            await item(subscription)
        assert refused.value.code == "bad_request"
        with pytest.raises(CommandError):
            await within(subscription.ready())
        # The connection goes on.
        assert (await within(client.publish("t", 1))).seq == 1


async def test_a_limit_of_the_server_is_told(start: Any) -> None:
    server = await start(limits__subscriptions_per_connection_max=1)
    async with Client(server.url) as client:
        await within(client.subscribe("a").ready())
        second = client.subscribe("b")
        with pytest.raises(CommandError, match="too_many_subscriptions"):
            await item(second)
        del second


async def test_what_cannot_be_published_is_refused_at_once(server: Server) -> None:
    async with Client(server.url) as client:
        for wrong in [float("nan"), {1, 2}, "\ud800", object(), {"a": "\udfff"}]:
            with pytest.raises(ValueError, match="not "):
                await client.publish("t", wrong)
        assert (await within(client.publish("t", json.dumps("fine")))).seq == 1


async def test_a_message_that_is_too_large_is_final(start: Any) -> None:
    server = await start()
    async with Client(server.url, message_bytes_max=2000) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        server.post("t", "x" * 3000)
        with pytest.raises(gridcast.RefusedError) as refused:
            await item(subscription)
        assert refused.value.status == 1009


async def test_compression_is_agreed_on_where_both_want_it(start: Any) -> None:
    server = await start(compression__enabled=True)
    async with Client(server.url, compression=True) as client:
        subscription = client.subscribe("t")
        text = json.dumps([{"station": "grüße"}] * 500)
        await within(client.publish("t", text))
        assert await data(subscription, 1) == [text]
        assert server.metric("gridcast_deflates_total") == 1


async def test_a_rate_thins_out(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        thin = client.subscribe("t", rate=1)
        await within(thin.ready())
        for number in range(20):
            await within(client.publish("t", number))
        assert await data(thin, 1) != ["0"]


async def test_a_handle_that_nobody_holds_is_given_up(server: Server) -> None:
    async with Client(server.url) as client:
        await within(client.subscribe("t").ready())
        gc.collect()
        await until(lambda: server.metric('gridcast_connections{role="multiplexed"}') == 1, "up")
        while (await within(client.publish("t", 2))).subscribers:
            pass
