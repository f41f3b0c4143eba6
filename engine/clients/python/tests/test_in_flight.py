"""Publishes whose reply does not come: what is said of them, and what `retry` does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from proxy import Proxy
from server import Server
from waiting import States, data, until, within

from gridcast import (
    Client,
    CommandError,
    MaybePublishedError,
    NotConnectedError,
    Published,
    RefusedError,
)


async def in_flight(client: Client, proxy: Proxy, server: Server, **options: Any) -> Any:
    """A publish that the server has taken, and whose reply is on its way."""
    await within(client.connected())
    proxy.hold("down")
    publishing = asyncio.create_task(client.publish("t", "once", **options))
    await server.until_metric("gridcast_publishes_total", 1)
    return publishing


async def test_a_reply_that_is_cut_off_leaves_it_open(server: Server, protocol: Any) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url, protocol=protocol) as client:
        publishing = await in_flight(client, proxy, server)
        proxy.cut()
        with pytest.raises(MaybePublishedError) as error:
            await within(publishing)
        assert error.value.code == "connection_lost"
        assert "it may have been published" in str(error.value)
        proxy.flow()
        assert (await within(client.publish("t", "next"))).seq == 2


async def test_a_message_lost_on_the_way_is_as_open(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url) as client:
        await within(client.connected())
        proxy.hold("up")
        publishing = asyncio.create_task(client.publish("t", "x" * 200_000))
        await until(lambda: not publishing.done(), "it is on its way")
        await asyncio.to_thread(server.post, "u", "1")
        proxy.cut()
        with pytest.raises(MaybePublishedError):
            await within(publishing)


async def test_with_retry_it_is_published_again(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url) as client:
        publishing = await in_flight(client, proxy, server, retry=True)
        proxy.cut()
        proxy.flow()
        assert (await within(publishing)).seq == 2
        subscription = client.subscribe("t", from_="oldest")
        assert await data(subscription, 2) == ["once", "once"]


async def test_no_reply_in_time_leaves_it_open(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url) as client:
        publishing = await in_flight(client, proxy, server, timeout_s=0.3)
        with pytest.raises(MaybePublishedError) as error:
            await within(publishing)
        assert error.value.code == "timeout"
        proxy.flow()
        # The late reply to what nobody waits for any more disturbs nothing.
        assert (await within(client.publish("t", "next"))).seq == 2


async def test_what_was_never_sent_was_surely_not_published(start: Any) -> None:
    server = await start()
    await server.kill()
    async with Client(server.url) as client:
        with pytest.raises(NotConnectedError) as error:
            await within(client.publish("t", 1, timeout_s=0.2))
        assert error.value.code == "not_connected"


async def test_a_killed_server_leaves_no_publish_without_an_answer(server: Server) -> None:
    states = States()
    async with Client(server.url, on_state=states) as client:
        await within(client.connected())
        publishing = [asyncio.create_task(client.publish("t", n)) for n in range(500)]
        await server.until_metric('gridcast_connections{role="multiplexed"}', 1)
        await server.kill()
        await server.start()
        replies = await within(asyncio.gather(*publishing, return_exceptions=True))
        failed = [reply for reply in replies if isinstance(reply, BaseException)]
        assert all(isinstance(error, MaybePublishedError) for error in failed), failed


async def test_what_was_still_to_be_sent_goes_over_the_next_connection(server: Server) -> None:
    async with Proxy(server.port) as proxy, Client(proxy.url) as client:
        await within(client.connected())
        proxy.hold("up")
        # More than the kernel takes for somebody who reads nothing.
        publishing = [asyncio.create_task(client.publish("t", "x" * 900_000)) for _ in range(20)]
        await until(lambda: proxy.has_read_up, "the first is on its way")
        proxy.cut()
        proxy.flow()
        replies = await within(asyncio.gather(*publishing, return_exceptions=True))
        open_ones = sum(isinstance(reply, MaybePublishedError) for reply in replies)
        done = sum(isinstance(reply, Published) for reply in replies)
        assert open_ones > 0
        assert done > 0
        assert open_ones + done == 20


async def test_a_publish_that_is_given_up_frees_its_turn(server: Server) -> None:
    async with Client(server.url, publishes_max=1) as client:
        await within(client.connected())
        for _ in range(20):
            publishing = asyncio.create_task(client.publish("t", "given up"))
            await asyncio.sleep(0)
            publishing.cancel()
        assert (await within(client.publish("t", "last"))).seq <= 21


async def test_the_end_of_the_client_is_told_to_who_waits(start: Any) -> None:
    server = await start()
    await server.kill()
    async with Client(server.url) as client:
        publishing = asyncio.create_task(client.publish("t", 1))
        await asyncio.sleep(0)
    with pytest.raises(Exception, match="closed"):
        await within(publishing)


async def test_publishing_in_the_moment_a_session_ends_stops_nothing(server: Server) -> None:
    """A session that is over is not asked again and again, which would stop the whole loop."""
    phases: list[str] = []
    options: Any = {"on_state": lambda state: phases.append(state.phase), "reconnect_s_min": 0.01}
    async with Proxy(server.port) as proxy, Client(proxy.url, **options) as client:
        await within(client.connected())
        proxy.cut()
        # In every turn of the loop, and so in those in which the session is ended.
        while "waiting" not in phases:
            publishing = asyncio.create_task(client.publish("t", "given up", retry=True))
            await asyncio.sleep(0)
            publishing.cancel()
        assert await within(client.publish("t", "after it"))


async def test_a_final_refusal_after_sending_leaves_it_open(start: Any) -> None:
    """Nothing is claimed that is not known, though connecting again is out of the question."""
    server = await start(limits__message_bytes_max=1000)
    async with Client(server.url) as client:
        await within(client.connected())
        # As of a server that does not say how long a message may be.
        client._session._connection.message_bytes_max = None  # type: ignore[union-attr]
        with pytest.raises((MaybePublishedError, RefusedError)):
            await within(client.publish("t", "x" * 2000))
        with pytest.raises(RefusedError) as refused:
            await within(client.publish("t", 1))
        assert refused.value.status == 1009


async def test_what_the_server_would_not_take_is_not_sent(start: Any) -> None:
    server = await start(limits__message_bytes_max=1000)
    async with Client(server.url) as client:
        await within(client.connected())
        for payload in ("x" * 1000, "\u00fc" * 490, "\U0001f642" * 245, b"x" * 760):
            with pytest.raises(CommandError, match="too_big"):
                await within(client.publish("t", payload))
        assert (await within(client.publish("t", "x" * 800))).seq == 1
