"""Connections and servers that end, in every way, and what the stream says of it."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import Any

import pytest
from proxy import Proxy
from server import Server, post_numbers
from waiting import States, an, data, item, until, within

from gridcast import Client, Clock, Gap, Message, RefusedError, Restarted, Resumed


class JumpingClock(Clock):
    """A clock that can be set forward, as a machine finds it that slept."""

    jumped_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.jumped_s


async def restarted(subscription: Any, *expected: str) -> None:
    """The stream tells a new life, that nobody knows what was missed, and what there is."""
    told = await an(Restarted, subscription)
    gap = await an(Gap, subscription)
    assert (gap.reason, gap.epoch, gap.frames) == ("epoch", told.epoch, None)
    assert told.epoch_before != told.epoch
    assert await data(subscription, len(expected)) == list(expected)


async def test_a_restart_is_told_to_every_subscription(server: Server, protocol: Any) -> None:
    states = States()
    async with Client(server.url, protocol=protocol, on_state=states) as client:
        subscriptions = [client.subscribe(target) for target in ("t", "+", "silent")]
        await within(asyncio.gather(*(each.ready() for each in subscriptions)))
        await within(client.publish("t", "1"))
        assert [await data(each, 1) for each in subscriptions[:2]] == [["1"], ["1"]]
        await server.kill()
        await server.start()
        await states.reached("open", 2)
        await within(client.publish("t", "2"))
        await restarted(subscriptions[0], "2")
        await restarted(subscriptions[1], "2")
        await restarted(subscriptions[2])
        assert subscriptions[2].position is not None


async def test_a_second_restart_is_told_as_the_first(server: Server) -> None:
    states = States()
    async with Client(server.url, on_state=states) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        for times in (2, 3):
            await server.kill()
            await server.start()
            await states.reached("open", times)
            await restarted(subscription)


async def test_a_drained_client_comes_back_after_the_delay_it_was_given(start: Any) -> None:
    server = await start(drain__window_ms=0, drain__reconnect_ms_min=70, drain__reconnect_ms_max=70)
    states = States()
    async with Client(server.url, on_state=states, reconnect_s_min=0.05) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        server.signal(signal.SIGTERM)
        waiting = await states.reached("waiting")
        assert waiting.delay_s == 0.07
        assert "draining" in waiting.reason
        await server.ended()
        await server.start()
        await restarted(subscription)


async def test_a_network_that_is_cut_loses_nothing(server: Server, protocol: Any) -> None:
    async with Proxy(server.port) as proxy:
        states = States()
        async with Client(proxy.url, protocol=protocol, on_state=states) as client:
            topic, pattern = client.subscribe("t/1"), client.subscribe("t/#")
            await within(asyncio.gather(topic.ready(), pattern.ready()))
            server.post("t/1", "1")
            assert [await data(topic, 1), await data(pattern, 1)] == [["1"], ["1"]]
            await proxy.shut()
            proxy.cut()
            await states.reached("waiting")
            server.post("t/1", "2")
            server.post("t/2", "3")
            await proxy.open()
            before = topic.position
            assert await an(Resumed, topic) == Resumed("t/1", before)  # type: ignore[arg-type]
            assert await data(topic, 1) == ["2"]
            assert (await an(Resumed, pattern)).topic == "t/#"
            assert await data(pattern, 2) == ["2", "3"]
            server.post("t/1", "4")
            assert [await data(topic, 1), await data(pattern, 1)] == [["4"], ["4"]]


async def test_what_retention_gave_up_meanwhile_is_told(start: Any, protocol: Any) -> None:
    server = await start(retention__frames_max=2)
    async with Proxy(server.port) as proxy:
        states = States()
        async with Client(proxy.url, protocol=protocol, on_state=states) as client:
            subscription = client.subscribe("t")
            await within(subscription.ready())
            epoch = server.post("t", "1")["epoch"]
            assert await data(subscription, 1) == ["1"]
            await proxy.shut()
            proxy.cut()
            await states.reached("waiting")
            await post_numbers(server, "t", 2, 6)
            await proxy.open()
            await an(Resumed, subscription)
            assert await an(Gap, subscription) == Gap("t", epoch, 2, 4, 3, "expired")
            assert await data(subscription, 2) == ["5", "6"]


async def test_a_position_that_expired_is_told_at_the_start(start: Any, protocol: Any) -> None:
    server = await start(retention__frames_max=2)
    epoch = server.post("t", "1")["epoch"]
    await post_numbers(server, "t", 2, 5)
    async with Client(server.url, protocol=protocol) as client:
        subscription = client.subscribe("t", from_=f"{epoch}-1")
        assert await an(Gap, subscription) == Gap("t", epoch, 2, 3, 2, "expired")
        assert await data(subscription, 2) == ["4", "5"]


async def test_all_subscriptions_are_made_again_at_once(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url) as client:
        subscriptions = [client.subscribe(f"t/{number}") for number in range(1000)]
        await within(asyncio.gather(*(each.ready() for each in subscriptions)))
        proxy.cut()
        for subscription in subscriptions:
            await an(Resumed, subscription)
        assert proxy.connections == 2
        await client.publish_many((f"t/{number}", number) for number in range(1000))
        for number, subscription in enumerate(subscriptions):
            assert await data(subscription, 1) == [str(number)]


async def test_a_way_that_breaks_anywhere_loses_and_repeats_nothing(
    server: Server, protocol: Any
) -> None:
    """Cut after so many bytes, in the middle of frames, answers and announcements."""
    chance = random.Random(7)
    async with Proxy(server.port) as proxy, Client(server.url) as publisher:
        options: Any = {"protocol": protocol, "reconnect_s_min": 0.01, "reconnect_s_max": 0.05}
        async with Client(proxy.url, **options) as client:
            topic = client.subscribe("t/1", overflow="pause", queue_max=50)
            pattern = client.subscribe("t/#", overflow="drop", queue_max=100_000)
            await within(asyncio.gather(topic.ready(), pattern.ready()))
            for first in range(0, 2000, 100):
                proxy.cut_after(chance.randrange(1, 4000))
                numbers = range(first, first + 100)
                await publisher.publish_many((f"t/{n % 2}", f"{n} {'x' * 30}") for n in numbers)
                await within(client.publish("other", first, retry=True))
            assert proxy.connections > 10
            assert await numbers_of(topic, 1000) == list(range(1, 2000, 2))
            assert await numbers_of(pattern, 2000) == list(range(2000))


async def numbers_of(subscription: Any, count: int) -> list[int]:
    numbers: list[int] = []
    while len(numbers) < count:
        told = await item(subscription)
        assert isinstance(told, Message | Resumed), told
        if isinstance(told, Message):
            numbers.append(int(str(told.data).split()[0]))
    return numbers


# ---- silence ----


async def test_a_server_that_stands_still_is_left_and_found_again(start: Any) -> None:
    server = await start(keepalive__heartbeat_ms=100)
    states = States()
    async with Client(server.url, on_state=states, connect_timeout_s=0.5) as client:
        subscription = client.subscribe("t")
        await within(client.publish("t", "1"))
        assert await data(subscription, 1) == ["1"]
        server.signal(signal.SIGSTOP)
        waiting = await states.reached("waiting")
        assert waiting.reason == "nothing came for 0.2 s"
        # It cannot be reached either: the handshake has a deadline of its own.
        assert "no connection within 0.5 s" in (await states.reached("waiting", 2)).reason
        server.signal(signal.SIGCONT)
        await an(Resumed, subscription)
        await within(client.publish("t", "2"))
        assert await data(subscription, 1) == ["2"]


async def test_a_network_that_is_silent_is_left(start: Any, protocol: Any) -> None:
    server = await start(keepalive__heartbeat_ms=100)
    async with Proxy(server.port) as proxy:
        states = States()
        options: Any = {"protocol": protocol, "connect_timeout_s": 0.3}
        async with Client(proxy.url, on_state=states, **options) as client:
            subscription = client.subscribe("t")
            await within(subscription.ready())
            proxy.hold()
            assert "nothing came" in (await states.reached("waiting")).reason
            server.post("t", "1")
            proxy.flow()
            await an(Resumed, subscription)
            assert await data(subscription, 1) == ["1"]


async def test_beats_keep_a_quiet_connection(start: Any) -> None:
    server = await start(keepalive__heartbeat_ms=100)
    states = States()
    async with Proxy(server.port) as proxy, Client(proxy.url, on_state=states) as client:
        await within(client.subscribe("t").ready())
        before = proxy.bytes["down"]
        await until(lambda: proxy.bytes["down"] - before > 10 * len('{"beat":{}}'), "beats")
        assert states.count("waiting") == 0


async def test_a_large_message_over_a_slow_link_is_no_silence(start: Any) -> None:
    """Bytes count, not messages: a heartbeat cannot come in the middle of one."""
    server = await start(keepalive__heartbeat_ms=100)
    async with Proxy(server.port) as proxy:
        states = States()
        async with Client(proxy.url, on_state=states) as client:
            subscription = client.subscribe("t")
            await within(subscription.ready())
            proxy.slow_s = 0.05
            server.post("t", "x" * 700_000)
            assert len((await data(subscription, 1))[0]) == 700_000
            assert states.count("waiting") == 0


async def test_after_a_jump_of_the_clock_a_dead_connection_is_left_soon(start: Any) -> None:
    server = await start(keepalive__heartbeat_ms=60_000)
    clock, states = JumpingClock(), States()
    async with (
        Proxy(server.port) as proxy,
        Client(proxy.url, clock=clock, on_state=states) as client,
    ):
        subscription = client.subscribe("t")
        await within(subscription.ready())
        proxy.hold()
        clock.jumped_s = 3600
        assert "clock jumped" in (await states.reached("waiting")).reason
        proxy.flow()
        await an(Resumed, subscription)


async def test_after_a_jump_of_the_clock_a_live_connection_is_kept(start: Any) -> None:
    server = await start(keepalive__heartbeat_ms=200)
    clock, states = JumpingClock(), States()
    async with Client(server.url, clock=clock, on_state=states) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        sent = server.metric("gridcast_frames_received_total")
        clock.jumped_s = 3600
        # The ping that asks.
        await server.until_metric("gridcast_frames_received_total", sent + 1)
        await within(client.publish("t", "1"))
        assert await data(subscription, 1) == ["1"]
        assert states.count("open") == 1


# ---- what is final, and what is not ----


async def test_a_client_waits_for_a_server_that_is_not_there_yet(start: Any) -> None:
    server = await start()
    await server.kill()
    states = States()
    async with Client(server.url, on_state=states, reconnect_s_min=0.05) as client:
        subscription = client.subscribe("t")
        publishing = asyncio.create_task(client.publish("t", "1"))
        await states.reached("waiting", 3)
        await server.start()
        assert (await within(publishing)).seq == 1
        assert await data(subscription, 1) == ["1"]


async def test_what_would_end_the_same_way_is_final(server: Server) -> None:
    async with Client(server.url + "/nowhere") as client:
        subscription = client.subscribe("t")
        for waiting in (item(subscription), client.connected(), client.publish("t", 1)):
            with pytest.raises(RefusedError) as refused:
                await within(waiting)
            assert refused.value.status == 404
        with pytest.raises(RefusedError):
            client.subscribe("u")


async def test_a_full_server_is_asked_again(start: Any) -> None:
    server = await start(limits__connections_max=1)
    states = States()
    async with Client(server.url) as first:
        await within(first.connected())
        async with Client(server.url, on_state=states, reconnect_s_min=0.05) as second:
            assert "connections" in (await states.reached("waiting")).reason
            await first.close()
            await within(second.connected())


async def test_a_subscription_that_is_refused_later_is_asked_for_again(server: Server) -> None:
    """It stood once: what passes by itself does not end it."""
    states = States()
    async with Proxy(server.port) as proxy:
        options: Any = {"reconnect_s_min": 0.05, "reconnect_s_max": 0.2}
        async with Client(proxy.url, on_state=states, **options) as client:
            subscription = client.subscribe("t")
            await within(subscription.ready())
            await proxy.shut()
            await server.kill()
            server.settings["limits__awaited_topics_max"] = 1
            await server.start()
            async with Client(server.url) as other:
                await within(other.subscribe("u", from_="last").ready())
                await proxy.open()
                refused = "gridcast_commands_refused_total"
                await until(lambda: server.metric(refused) >= 3, "it was refused and asked again")
                await within(other.publish("u", "there is room now"))
                await restarted(subscription)
                assert states.count("open") == 2


async def test_lagging_behind_is_told_and_gone_over(start: Any) -> None:
    """Close code 4409: back at once, and what is missing is told."""
    server = await start(retention__bytes_max=65536, flush__send_buffer_bytes=4096)
    async with Proxy(server.port, is_narrow=True) as proxy:
        states = States()
        async with Client(proxy.url, on_state=states) as client:
            subscription = client.subscribe("t", queue_max=10_000)
            await within(subscription.ready())
            proxy.hold("down")
            await flood(server, 3000)
            proxy.flow()
            waiting = await states.reached("waiting")
            assert (waiting.delay_s, "reconnect" in waiting.reason) == (0.0, True)
            seen = 0
            while not isinstance(told := await item(subscription), Gap):
                seen += isinstance(told, Message)
            assert told.reason == "expired"
            assert told.frames is not None
            seen += told.frames
            while seen < 3000:
                last = await an(Message, subscription)
                seen += 1
            assert last.seq == 3000


async def flood(server: Server, count: int) -> None:
    """Many large messages to `t` by another client."""
    async with Client(server.url) as publisher:
        for _ in range(count // 100):
            reply = await publisher.publish_many([("t", "x" * 2000)] * 100)
            assert reply.failed == 0
