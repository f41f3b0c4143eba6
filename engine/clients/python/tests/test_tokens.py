"""Tokens: where they come from, what happens when they end, and which are not tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hs256
import pytest
from server import Server
from waiting import States, an, data, item, within

from gridcast import Client, CommandError, RefusedError, Resumed

RIGHTS: dict[str, Any] = {"subscribe": ["#"], "publish": ["#"]}


@pytest.fixture
async def guarded(start: Any, tmp_path: Path) -> Server:
    """A server that wants tokens."""
    secret = tmp_path / "secret"
    secret.write_text(hs256.SECRET)
    server: Server = await start(auth__hs256_secret_file=secret, auth__leeway_s=0)
    return server


def asked(*tokens: str) -> tuple[Callable[[], str], list[str]]:
    """A callback that gives one after the other, then the last again; and what it gave."""
    given: list[str] = []

    def token() -> str:
        given.append(tokens[min(len(given), len(tokens) - 1)])
        return given[-1]

    return token, given


async def test_a_token_lets_in_and_gives_rights(guarded: Server, protocol: Any) -> None:
    token = hs256.signed(60, subscribe=["pmu/#"])
    async with Client(guarded.url, token=token, protocol=protocol) as client:
        await within(client.subscribe("pmu/#").ready())
        other = client.subscribe("other")
        with pytest.raises(CommandError, match="forbidden"):
            await item(other)
        with pytest.raises(CommandError, match="forbidden"):
            await within(client.publish("pmu/1", 1))


async def test_an_expired_token_is_replaced_by_the_callback(guarded: Server, protocol: Any) -> None:
    states = States()
    token, given = asked(hs256.signed(2, **RIGHTS), hs256.signed(60, **RIGHTS))
    async with Client(guarded.url, token=token, on_state=states, protocol=protocol) as client:
        subscription = client.subscribe("t")
        await within(client.publish("t", "1"))
        assert await data(subscription, 1) == ["1"]
        waiting = await states.reached("waiting")
        assert "expired" in waiting.reason
        assert waiting.delay_s == 0
        await an(Resumed, subscription)
        await within(client.publish("t", "2"))
        assert await data(subscription, 1) == ["2"]
        assert len(given) == 2


async def test_a_callback_may_be_asynchronous(guarded: Server) -> None:
    async def token() -> str:
        return hs256.signed(60, **RIGHTS)

    async with Client(guarded.url, token=token) as client:
        assert (await within(client.publish("t", 1))).seq == 1


async def test_an_expired_text_is_final(guarded: Server) -> None:
    async with Client(guarded.url, token=hs256.signed(2, **RIGHTS)) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        with pytest.raises(RefusedError, match="expired") as refused:
            await item(subscription)
        assert refused.value.status == 4401


async def test_no_token_and_a_wrong_one_are_final(guarded: Server) -> None:
    for token in (None, "wrong-0123456789abcdef"):
        async with Client(guarded.url, token=token) as client:
            with pytest.raises(RefusedError) as refused:
                await within(client.connected())
            assert refused.value.status == 401


async def test_a_refused_token_is_not_sent_again(guarded: Server) -> None:
    refused, fine = hs256.signed(-10, **RIGHTS), hs256.signed(60, **RIGHTS)
    token, given = asked(refused, refused, refused, fine)
    async with Client(guarded.url, token=token, reconnect_s_min=0.02) as client:
        await within(client.connected())
        assert given == [refused, refused, refused, fine]
        failed = guarded.metric('gridcast_requests_refused_total{status="401"}')
        assert failed == 1


async def test_a_callback_that_knows_no_other_token_is_final(guarded: Server) -> None:
    token, given = asked(hs256.signed(-10, **RIGHTS))
    async with Client(guarded.url, token=token, reconnect_s_min=0.02) as client:
        with pytest.raises(RefusedError, match="gives the token that was refused"):
            await within(client.connected())
        assert len(given) == 6


async def test_a_callback_that_fails_is_asked_again(guarded: Server) -> None:
    given: list[int] = []

    def token() -> str:
        given.append(1)
        if len(given) < 3:
            raise OSError("the identity provider is away")
        return hs256.signed(60, **RIGHTS)

    states = States()
    async with Client(guarded.url, token=token, on_state=states, reconnect_s_min=0.02) as client:
        await within(client.connected())
        assert "identity provider is away" in (await states.reached("waiting")).reason


async def test_a_token_that_is_asked_for_by_history_is_no_refused_one(guarded: Server) -> None:
    """The callback gives history the new token before the old one of the connection expires."""
    old, new = hs256.signed(2, **RIGHTS), hs256.signed(60, **RIGHTS)
    token, given = asked(old, new)
    states = States()
    async with Client(guarded.url, token=token, on_state=states) as client:
        await within(client.publish("t", 1))
        assert len([record async for record in client.history("t")]) == 1
        await states.reached("open", 2)
        assert given == [old, new, new]


async def test_what_no_token_can_be_is_refused_at_once() -> None:
    for wrong in ("", "two words", "line\r\nbreak", "gr\u00fc\u00dfe", 7):
        with pytest.raises((ValueError, TypeError), match="token: ") as error:
            Client("ws://localhost", token=wrong)  # type: ignore[arg-type]
        assert "break" not in str(error.value)


async def test_a_token_is_replaced_before_it_ends(guarded: Server, protocol: Any) -> None:
    token, given = asked(hs256.signed(8, **RIGHTS), hs256.signed(60, **RIGHTS))
    states = States()
    async with Client(guarded.url, token=token, on_state=states, protocol=protocol) as client:
        subscription = client.subscribe("t")
        await within(subscription.ready())
        first, opened = given[0], asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < opened + 9:
            await asyncio.sleep(0.2)
        await within(client.publish("t", "after"))
        assert await data(subscription, 1) == ["after"]
        assert given[:-1] == [first]
        assert [state.phase for state in states.seen] == ["connecting", "open"]


async def test_what_the_new_token_does_not_cover_ends(guarded: Server) -> None:
    narrow: dict[str, Any] = {"subscribe": ["kept"], "publish": ["#"]}
    token, _ = asked(hs256.signed(8, **RIGHTS), hs256.signed(60, **narrow))
    async with Client(guarded.url, token=token) as client:
        kept, lost = client.subscribe("kept"), client.subscribe("lost")
        await within(lost.ready())
        with pytest.raises(CommandError, match="forbidden"):
            await item(lost)
        await within(client.publish("kept", "still"))
        assert await data(kept, 1) == ["still"]
