// What becomes of subscriptions when the server or the way to it breaks: each way there is, against
// the real server. Must not look inside the client.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { client, follow } from "./harness/clients.mjs";
import { SleepyClock } from "./harness/clock.mjs";
import { Heard } from "./harness/heard.mjs";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";

// Only where silence is the matter: a busy machine is silent by itself.
const HEARTBEAT_MS = 500;
const LIVELY = [`keepalive.heartbeat_ms=${HEARTBEAT_MS}`];
const PROTOCOLS = ["gridcast.v1.bin", "gridcast.v1.json"];

let shared;
before(async () => (shared = await Server.start()));
after(() => shared.kill());

async function serverOfItsOwn(test, settings = []) {
  const server = await Server.start(settings);
  test.after(() => server.kill());
  return server;
}

async function proxyTo(test, server) {
  const proxy = await Proxy.to(server.port);
  test.after(() => proxy.close());
  return proxy;
}

for (const protocol of PROTOCOLS) {
  test(`${protocol}: a cut is resumed where it was, without loss or repeat`, async (t) => {
    const proxy = await proxyTo(t, shared);
    const one = client(t, Heard, proxy.url, { protocols: [protocol] });
    one.connect();
    assert.equal((await one.heard.next("open")).protocol, protocol);
    const topics = ["a", "b", "c"].map((name) => `cut/${protocol}/${name}`);
    const feeds = await Promise.all(topics.map((topic) => follow(one, Heard, topic)));
    for (const topic of topics) await shared.post(topic, "1");
    for (const feed of feeds) assert.deepEqual(await feed.data(1), [1]);
    proxy.cut({ refuse: true });
    assert.equal((await one.heard.next("close")).code, 1006);
    for (const topic of topics) await shared.post(topic, "2");
    for (const topic of topics) await shared.post(topic, "3");
    proxy.mend();
    for (const feed of feeds) assert.deepEqual(await feed.data(2), [2, 3]);
    for (const _ of topics) await one.heard.next("resumed");
    one.heard.none("gap");
    one.heard.none("restarted");
  });

  test(`${protocol}: a restart is told, and what nobody has any more is a gap`, async (t) => {
    const server = await serverOfItsOwn(t);
    const one = client(t, Heard, server.url, { protocols: [protocol] });
    const feed = await follow(one, Heard, "a");
    await server.post("a", "1");
    assert.deepEqual(await feed.data(1), [1]);
    await server.kill();
    await one.heard.next("close");
    await server.startAgain();
    await server.post("a", "2");
    const { epoch, previous } = await one.heard.next("restarted");
    assert.notEqual(epoch, previous);
    const gap = await one.heard.next("gap");
    assert.deepEqual([gap.topic, gap.reason], ["a", "epoch"]);
    one.heard.none("resumed");
    await server.post("a", "3");
    assert.equal((await feed.next("message", ({ data }) => data === 3)).data, 3);
  });

  test(`${protocol}: a gap is told with its bounds`, async (t) => {
    const server = await serverOfItsOwn(t, ["retention.frames_max=2"]);
    const proxy = await proxyTo(t, server);
    const one = client(t, Heard, proxy.url, { protocols: [protocol] });
    const feed = await follow(one, Heard, "a");
    await server.post("a", "1");
    await feed.data(1);
    proxy.cut({ refuse: true });
    await one.heard.next("close");
    for (const n of [2, 3, 4, 5]) await server.post("a", String(n));
    proxy.mend();
    const gap = { topic: "a", from: 2, to: 3, frames: 2, reason: "expired" };
    assert.deepEqual(await one.heard.next("gap"), gap);
    assert.deepEqual(await feed.data(2), [4, 5]);
    one.heard.none("resumed");
  });

  test(`${protocol}: overlapping subscriptions each get their own copy`, async (t) => {
    const one = client(t, Heard, shared.url, { protocols: [protocol] });
    const root = `over/${protocol}`;
    const targets = [`${root}/#`, `${root}/1`, `over/+/1`];
    const [wide, topic, narrow] = await Promise.all(targets.map((to) => follow(one, Heard, to)));
    await shared.post(`${root}/2`, "0");
    await shared.post(`${root}/1`, "1");
    const told = async (heard) => {
      const { topic, pattern, data } = await heard.next("message");
      return [topic, pattern, data];
    };
    assert.deepEqual(await told(wide), [`${root}/2`, targets[0], 0]);
    assert.deepEqual(await told(wide), [`${root}/1`, targets[0], 1]);
    assert.deepEqual(await told(topic), [`${root}/1`, undefined, 1]);
    assert.deepEqual(await told(narrow), [`${root}/1`, targets[2], 1]);
    wide.feed.close();
    await shared.post(`${root}/1`, "2");
    assert.deepEqual(await told(topic), [`${root}/1`, undefined, 2]);
    assert.deepEqual(await told(narrow), [`${root}/1`, targets[2], 2]);
    wide.none("message");
  });
}

test("a drain is obeyed: the delay of its reason, then connected again", async (t) => {
  const drain = ["drain.window_ms=100", "drain.reconnect_ms_min=700", "drain.reconnect_ms_max=700"];
  const server = await serverOfItsOwn(t, drain);
  const one = client(t, Heard, server.url);
  await follow(one, Heard, "a");
  const ended = server.terminate();
  const { code, reconnect, delay_ms } = await one.heard.next("close");
  assert.deepEqual([code, reconnect, delay_ms], [1001, "later", 700]);
  await ended;
  await server.startAgain();
  await one.heard.next("restarted");
});

test("a stall longer than two heartbeats is noticed, and resumed when it is over", async (t) => {
  const server = await serverOfItsOwn(t, LIVELY);
  const one = client(t, Heard, server.url, { connect_timeout_ms: 2_000 });
  const feed = await follow(one, Heard, "a");
  const stalled_at = Date.now();
  server.stall();
  const { code, reason, reconnect } = await one.heard.next("close");
  const noticed_ms = Date.now() - stalled_at;
  assert.deepEqual([code, reconnect], [1006, "later"]);
  assert.match(reason, /nothing came for \d+ ms|no answer within/);
  assert.ok(noticed_ms >= HEARTBEAT_MS, `noticed after ${noticed_ms} ms`);
  server.goOn();
  await one.heard.next("resumed");
  await server.post("a", "1");
  assert.deepEqual(await feed.data(1), [1]);
});

test("a network that swallows everything is noticed", async (t) => {
  const server = await serverOfItsOwn(t, LIVELY);
  const proxy = await proxyTo(t, server);
  const one = client(t, Heard, proxy.url, { connect_timeout_ms: 2_000 });
  await follow(one, Heard, "swallowed");
  proxy.swallow();
  assert.equal((await one.heard.next("close")).code, 1006);
  proxy.mend();
  await one.heard.next("resumed");
});

test("after a jump of the clock a living server is asked and kept", async (t) => {
  const server = await serverOfItsOwn(t, ["keepalive.heartbeat_ms=2000"]);
  const clock = new SleepyClock();
  const one = client(t, Heard, server.url, { clock, check_timeout_ms: 20_000 });
  await follow(one, Heard, "sleep/a");
  clock.sleep(3_600_000);
  for (let ran = 0; ran < 3; ran++) await clock.heard.next("ran");
  const heard = await follow(one, Heard, "sleep/b");
  await server.post("sleep/b", "1");
  assert.deepEqual(await heard.data(1), [1]);
  one.heard.none("close");
  const probes = await server.metric("gridcast_commands_refused_total");
  assert.ok(probes >= 1, "the server was asked");
});

test("after a jump of the clock a dead way is found at once", async (t) => {
  const server = await serverOfItsOwn(t, ["keepalive.heartbeat_ms=8000"]);
  const clock = new SleepyClock();
  const proxy = await proxyTo(t, server);
  const one = client(t, Heard, proxy.url, { clock, check_timeout_ms: 50 });
  await follow(one, Heard, "a");
  proxy.swallow();
  clock.sleep(3_600_000);
  const { reason } = await one.heard.next("close", undefined, 6_000);
  assert.equal(reason, "no answer within 50 ms");
  proxy.mend();
  await one.heard.next("resumed");
});

test("all subscriptions come back in one burst", async (t) => {
  const proxy = await proxyTo(t, shared);
  const one = client(t, Heard, proxy.url);
  const topics = Array.from({ length: 300 }, (_, n) => `burst/${n}`);
  topics.forEach((topic) => one.subscribe(topic, () => {}));
  for (const _ of topics) await one.heard.next("subscribed");
  const opened = proxy.opened;
  proxy.cut();
  for (const _ of topics) await one.heard.next("resumed");
  assert.equal(proxy.opened, opened + 1);
  one.heard.none("error");
});

test("a limit of the server is tried again until there is room", async (t) => {
  const server = await serverOfItsOwn(t, ["limits.subscriptions_per_connection_max=1"]);
  const proxy = await proxyTo(t, server);
  const one = client(t, Heard, proxy.url);
  const first = await follow(one, Heard, "a");
  const second = new Heard();
  one.subscribe("b", second.handler);
  const { error, topic, retry } = await one.heard.next("error");
  assert.deepEqual([error.code, topic, retry], ["too_many_subscriptions", "b", "later"]);
  first.feed.close();
  await one.heard.next("subscribed");
  await server.post("b", "1");
  assert.deepEqual(await second.data(1), [1]);
});

test("a subscription that makes no sense ends, and its topic is free again", async (t) => {
  const one = client(t, Heard, shared.url);
  const feed = one.subscribe("senseless", () => {}, { rate: 0 });
  const { error, retry } = await one.heard.next("error");
  assert.deepEqual([error.code, retry, feed.state], ["bad_request", "never", "failed"]);
  const again = await follow(one, Heard, "senseless");
  feed.close();
  await shared.post("senseless", "1");
  assert.deepEqual(await again.data(1), [1]);
});

test("what the user closed is never opened again", async (t) => {
  const proxy = await proxyTo(t, shared);
  const one = client(t, Heard, proxy.url);
  const feed = await follow(one, Heard, "closed");
  one.close();
  assert.equal(one.state, "closed");
  await assert.rejects(one.publish("closed", 1), { code: "not_sent" });
  const opened = proxy.opened;
  await shared.post("closed", "1");
  one.connect();
  assert.deepEqual(await feed.data(1), [1]);
  assert.equal(proxy.opened, opened + 1);
  await one.heard.next("resumed");
});
