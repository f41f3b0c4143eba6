"""Programs that take messages too slowly: what is given up is told, and what waits is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from proxy import Proxy
from server import Server
from waiting import States, an, data, item, until, within

from gridcast import Client, Gap, Message, Restarted, Subscription


async def published(client: Client, count: int, topic: str = "t", first: int = 1) -> None:
    """Publishes numbers, and waits until this client was sent all of them."""
    numbers = range(first, first + count)
    await within(asyncio.gather(*(client.publish(topic, number) for number in numbers)))


async def test_a_full_queue_drops_the_oldest_and_tells(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t", queue_max=10)
        await published(client, 25)
        assert subscription.queued == 10
        gap = await an(Gap, subscription)
        assert (gap.from_seq, gap.to_seq, gap.frames, gap.reason) == (1, 15, 15, "queue")
        assert await data(subscription, 10) == [str(number) for number in range(16, 26)]
        await published(client, 11, first=26)
        gap = await an(Gap, subscription)
        assert (gap.from_seq, gap.to_seq, gap.frames) == (26, 26, 1)
        assert await data(subscription, 10) == [str(number) for number in range(27, 37)]


async def test_a_replay_does_not_overrun_a_program_that_takes_it(
    server: Server, protocol: Any
) -> None:
    async with Client(server.url, protocol=protocol) as client:
        await client.publish_many(("t", number) for number in range(6_000))
        subscription = client.subscribe("t", from_="oldest")
        assert await data(subscription, 6_000) == [str(number) for number in range(6_000)]


async def test_back_pressure_loses_nothing_and_bounds_the_queue(
    server: Server, protocol: Any
) -> None:
    async with Client(server.url, protocol=protocol) as client:
        slow = client.subscribe("t/#", queue_max=10, overflow="pause")
        quick = client.subscribe("t/1", queue_max=100_000)
        await within(slow.ready())
        await published(client, 500, "t/1")
        # What the slow one cannot take holds nobody else up, not even publishing.
        assert await data(quick, 500) == [str(number) for number in range(1, 501)]
        for number in range(1, 501):
            assert slow.queued <= 10
            assert await data(slow, 1) == [str(number)]
        await published(client, 3, "t/2", 501)
        assert await data(slow, 3) == ["501", "502", "503"]


async def test_publishing_from_within_the_loop_of_a_full_queue_goes_on(server: Server) -> None:
    async with Client(server.url) as client:
        subscription = client.subscribe("t", queue_max=1, overflow="pause")
        await published(client, 20)
        for number in range(1, 21):
            assert await data(subscription, 1) == [str(number)]
            await within(client.publish("echo", number))


async def test_paused_it_is_told_what_the_server_gave_up(start: Any, protocol: Any) -> None:
    server = await start(retention__frames_max=20)
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t", queue_max=10, overflow="pause")
        await published(client, 100)
        seen, missed = await counted(subscription, 100)
        assert missed > 0
        assert seen + missed == 100


async def counted(subscription: Subscription, last: int) -> tuple[int, int]:
    """Messages and missing ones up to a position; they have to be dense."""
    seen = missed = position = 0
    while position < last:
        told = await item(subscription)
        if isinstance(told, Gap):
            assert (told.from_seq, told.frames) == (position + 1, told.to_seq - position)
            missed, position = missed + (told.frames or 0), told.to_seq
        elif isinstance(told, Message):
            assert told.seq == position + 1
            seen, position = seen + 1, told.seq
    return seen, missed


async def test_a_paused_subscription_survives_a_lost_connection(server: Server) -> None:
    states = States()
    async with Proxy(server.port) as proxy, Client(proxy.url, on_state=states) as client:
        subscription = client.subscribe("t", queue_max=10, overflow="pause")
        await published(client, 50)
        assert subscription.queued == 10
        proxy.cut()
        await states.reached("open", 2)
        assert await counted(subscription, 50) == (50, 0)


async def test_a_restart_while_paused_is_told(server: Server) -> None:
    states = States()
    async with Client(server.url, on_state=states) as client:
        subscription = client.subscribe("t", queue_max=4, overflow="pause")
        await published(client, 20)
        await server.kill()
        await server.start()
        await states.reached("open", 2)
        assert await data(subscription, 4) == ["1", "2", "3", "4"]
        await an(Restarted, subscription)
        assert (await an(Gap, subscription)).reason == "epoch"
        await published(client, 1)
        assert await data(subscription, 1) == ["1"]


async def test_latest_keeps_the_newest_of_each_topic(server: Server, protocol: Any) -> None:
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t/#", mode="latest")
        await within(subscription.ready())
        for number in range(1, 101):
            await within(client.publish(f"t/{number % 2}", number))
        await until(lambda: subscription.position and subscription.position.seq == 100, "all")
        gap = await an(Gap, subscription)
        assert (gap.from_seq, gap.to_seq, gap.frames, gap.reason) == (1, 98, 98, "conflated")
        assert await data(subscription, 2) == ["99", "100"]


async def test_latest_over_a_socket_that_is_full_adds_up(start: Any) -> None:
    """What the server jumps over and what this program does are told together."""
    server = await start(flush__send_buffer_bytes=4096)
    async with Proxy(server.port, is_narrow=True) as proxy, Client(proxy.url) as client:
        subscription = client.subscribe("t", mode="latest")
        await within(subscription.ready())
        proxy.hold("down")
        async with Client(server.url) as publisher:
            for _ in range(20):
                await publisher.publish_many([("t", "x" * 5000)] * 100)
        proxy.flow()
        seen, missed = await counted(subscription, 2000)
        assert seen + missed == 2000
        assert missed >= server.metric("gridcast_frames_conflated_total") > 0


async def test_options_that_contradict_each_other_are_refused(server: Server) -> None:
    async with Client(server.url) as client:
        with pytest.raises(ValueError, match="overflow='pause' belongs to mode='lossless'"):
            client.subscribe("t", mode="latest", overflow="pause")
