"""What every Python WebSocket client is asked to do: the same as scenario.mjs asks of JavaScript's.
Prints a row for each check.

Usage: scenario.py websockets|aiohttp ENGINE CHECKS, where CHECKS is a JSON array.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import sys
import urllib.request

# The engine is started with this (scripts/clients).
IDLE_TIMEOUT_S = 1.0
PATIENCE_S = 15


class OverWebsockets:
    """A connection of `websockets`."""

    def __init__(self, socket):
        self.socket = socket
        self.protocol = socket.subprotocol
        self.extensions = socket.response.headers.get("Sec-WebSocket-Extensions", "")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url, protocols=None, deflate=False):
        import websockets
        compression = "deflate" if deflate else None
        async with websockets.connect(url, subprotocols=protocols, compression=compression,
                                      max_size=None) as socket:
            yield cls(socket)

    async def next(self):
        import websockets
        try:
            return await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        except websockets.ConnectionClosed:
            return (self.socket.close_code, self.socket.close_reason)

    async def send(self, data):
        await self.socket.send(data)

    async def close(self, code, reason):
        await self.socket.close(code, reason)

    async def ping(self):
        await (await self.socket.ping(b"there?"))


class OverAiohttp:
    """A connection of `aiohttp`."""

    def __init__(self, socket):
        self.socket, self.closing = socket, None
        self.protocol = socket.protocol
        self.extensions = socket._response.headers.get("Sec-WebSocket-Extensions", "")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url, protocols=(), deflate=False):
        import aiohttp
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, protocols=protocols or (), max_msg_size=0,
                                          compress=15 if deflate else 0,
                                          autoping=False) as socket:
                yield cls(socket)

    async def next(self):
        import aiohttp
        while True:
            told = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            if told.type is aiohttp.WSMsgType.PING:
                await self.socket.pong(told.data)
            elif told.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return told.data
            elif told.type is aiohttp.WSMsgType.PONG:
                return ("pong", bytes(told.data))
            else:
                return (self.socket.close_code, told.extra or "")

    async def send(self, data):
        await (self.socket.send_str if isinstance(data, str) else self.socket.send_bytes)(data)

    async def close(self, code, reason):
        await self.socket.close(code=code, message=reason.encode())

    async def ping(self):
        await self.socket.ping(b"there?")
        equal(await self.next(), ("pong", b"there?"))


CLIENTS = {"websockets": OverWebsockets, "aiohttp": OverAiohttp}


class Asked:
    """One client and one engine: what the checks are made with."""

    def __init__(self, name, engine):
        self.connection, self.engine = CLIENTS[name], engine

    def open(self, path, **options):
        return self.connection.open(self.engine.replace("http", "ws") + path, **options)

    def post(self, topic, text):
        request = urllib.request.Request(
            f"{self.engine}/v1/publish/{topic}", text.encode(), {"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)


async def text_and_binary(client, topic):
    async with client.open(feed(topic)) as to, client.open(f"/v1/publish/{topic}") as source:
        large = bytes(i % 251 for i in range(70_000))
        for sent in ["grüße 🙂", b"\0\xff\1", large, ""]:
            await source.send(sent)
            equal(await to.next(), sent)


async def close_by_the_client(client, topic):
    async with client.open(feed(topic)) as socket:
        await socket.close(1000, "bye")
        equal((await socket.next())[0], 1000)


async def close_by_the_engine(client, topic):
    async with client.open(feed(topic)) as socket:
        await socket.send("a subscriber has nothing to say")
        code, reason = await socket.next()
        equal(code, 1003)
        holds("/v1/publish/" in reason, f"reason: {reason}")


async def ping(client, topic):
    async with client.open(feed(topic)) as socket:
        await asyncio.wait_for(socket.ping(), PATIENCE_S)


async def answers_pings(client, topic):
    async with client.open(feed(topic)) as socket:
        reading = asyncio.create_task(socket.next())
        await asyncio.sleep(2 * IDLE_TIMEOUT_S)
        client.post(topic, "still here")
        equal(await reading, "still here")


async def resume(client, topic):
    first = client.post(topic, "1")
    client.post(topic, "2")
    client.post(topic, "3")
    position = f"{first['epoch']}-{first['seq']}"
    async with client.open(f"{feed(topic)}?from={position}") as socket:
        equal([await socket.next(), await socket.next()], ["2", "3"])
    async with client.open(f"{feed(topic)}?from=last") as socket:
        equal(await socket.next(), "3")


async def refused_option(client, topic):
    try:
        async with client.open(f"{feed(topic)}?from=never"):
            pass
    except Exception as error:  # each client has its own
        holds("400" in str(error), f"refused, but: {error}")
    else:
        raise AssertionError("the handshake succeeded")


async def multiplexed_json(client, topic):
    async with client.open("/v1/ws", protocols=["gridcast.v1.json"]) as socket:
        equal(socket.protocol, "gridcast.v1.json")
        await ask(socket, {"id": 1, "subscribe": {"topic": topic}})
        subscribed = await next_json(socket)
        equal((subscribed["id"], subscribed["subscribed"]["topic"]), (1, topic))
        await ask(socket, {"id": 2, "publish": {"topic": topic, "data": {"a": 1}}})
        told = [await next_json(socket), await next_json(socket)]
        seq = next(one["published"]["seq"] for one in told if one.get("id") == 2)
        holds({"topic": topic, "seq": seq, "data": {"a": 1}} in told, f"told: {told}")
        await ask(socket, {"publish": {"topic": topic, "data64": "AP8B"}})
        equal(await next_json(socket), {"topic": topic, "seq": seq + 1, "data64": "AP8B"})
        client.post(topic, "plain")
        equal(await next_json(socket),
              {"topic": topic, "seq": seq + 2, "data": "plain", "text": True})
        await ask(socket, {"id": 3, "subscribe": {"topic": "a//b"}})
        refused = await next_json(socket)
        equal((refused["id"], type(refused["error"]["message"])), (3, str))
        await ask(socket, {"id": 4, "unsubscribe": {"topic": topic}})
        equal(await next_json(socket), {"id": 4, "unsubscribed": {"topic": topic}})


async def multiplexed_bin(client, topic):
    async with client.open("/v1/ws", protocols=["gridcast.v1.bin"]) as socket:
        equal(socket.protocol, "gridcast.v1.bin")
        await ask(socket, {"id": 1, "subscribe": {"topic": topic}})
        subscribed = (await next_json(socket))["subscribed"]
        seq = client.post(topic, "hello")["seq"]
        number, rest = varint(await socket.next())
        at, rest = varint(rest)
        equal((number, at, rest), (subscribed["feed"], seq, b"\1hello"))


async def deflate(client, topic):
    options = {"deflate": True}
    async with client.open(feed(topic), **options) as to:
        async with client.open(f"/v1/publish/{topic}", **options) as source:
            for socket in (to, source):
                holds("permessage-deflate" in socket.extensions, f"has: {socket.extensions}")
            for n in range(3):
                text = json.dumps([{"n": n, "station": "grüße"}] * 500, ensure_ascii=False)
                await source.send(text)
                equal(await to.next(), text)


CHECKS = {
    "text and binary": text_and_binary,
    "close by the client": close_by_the_client,
    "close by the engine": close_by_the_engine,
    "ping": ping,
    "answers pings": answers_pings,
    "resume": resume,
    "refused option": refused_option,
    "multiplexed json": multiplexed_json,
    "multiplexed bin": multiplexed_bin,
    "deflate": deflate,
}


async def ask(socket, command):
    await socket.send(json.dumps(command))


async def next_json(socket):
    return json.loads(await socket.next())


def varint(data):
    """A number and what follows it."""
    value = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value, data[at + 1:]
    raise AssertionError("a number without an end")


def feed(topic):
    return f"/v1/feed/{topic}"


def equal(got, wanted):
    holds(got == wanted, f"{str(got)[:80]} instead of {str(wanted)[:80]}")


def holds(condition, message):
    if not condition:
        raise AssertionError(message)


async def main(name, engine, checks):
    for at, check in enumerate(name for name in checks if name in CHECKS):
        row = {"client": name, "version": importlib.metadata.version(name), "check": check,
               "ok": True, "note": ""}
        try:
            asked = CHECKS[check](Asked(name, engine), f"{name}/{at}")
            await asyncio.wait_for(asked, PATIENCE_S)
        except Exception as error:  # whatever it is, it is the row's note
            row.update(ok=False, note=f"{type(error).__name__}: {error}"[:200])
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
