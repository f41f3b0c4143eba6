// The client over event streams, by each of its carriers, against the real server. EventSource is
// one of ours here, because Node has none: browser.test.mjs has the real one.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { SseClient } from "@gridcast/client/sse";
import { follow } from "./harness/clients.mjs";
import { SleepyClock, StillClock } from "./harness/clock.mjs";
import { Heard } from "./harness/heard.mjs";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";
import { Issuer } from "./harness/tokens.mjs";

const EVENTS = ["state", "open", "close", "subscribed", "resumed", "gap", "error"];
const QUICK = { reconnect_ms_min: 20, reconnect_ms_max: 200 };

let server;
before(async () => (server = await Server.start()));
after(() => server.kill());

function client(test, url, options = {}) {
  const made = new SseClient(url, { ...QUICK, ...options });
  test.after(() => made.close());
  return Object.assign(made, { heard: Heard.to(made, ...EVENTS) });
}

async function proxyTo(test, to) {
  const proxy = await Proxy.to(to.port);
  test.after(() => proxy.close());
  return proxy;
}

async function serverOfItsOwn(test, settings) {
  const own = await Server.start(settings);
  test.after(() => own.kill());
  return own;
}

test("what is published is what comes", async (t) => {
  const one = client(t, server.url);
  const feed = await follow(one, Heard, "kinds/grüße 🙂");
  const payloads = [{ a: 1 }, "text", "two\nlines", 5, null, Uint8Array.of(0, 255, 1), ""];
  const answers = [];
  for (const data of payloads) answers.push(await one.publish("kinds/grüße 🙂", data));
  assert.deepEqual(answers.map(({ seq }) => seq), payloads.map((_, at) => at + 1));
  assert.deepEqual(await feed.data(payloads.length), payloads);
  await one.publish("kinds/grüße 🙂", "plain\r\nlines", { text: true });
  assert.deepEqual(await feed.data(1), ["plain\nlines"], "an event stream keeps lines, not breaks");
  await assert.rejects(one.publish("$sys/x", 1), { code: "forbidden" });
});

// That nothing is missing of a quiet topic is known when the next comment comes.
test("a cut is resumed where it was", async (t) => {
  const server = await serverOfItsOwn(t, ["keepalive.heartbeat_ms=1000"]);
  const proxy = await proxyTo(t, server);
  const one = client(t, proxy.url);
  const feeds = [await follow(one, Heard, "cut/a"), await follow(one, Heard, "cut/b")];
  for (const topic of ["cut/a", "cut/b"]) await server.post(topic, "1");
  for (const feed of feeds) assert.deepEqual(await feed.data(1), [1]);
  proxy.cut({ refuse: true });
  await one.heard.next("close");
  for (const n of ["2", "3"]) await server.post("cut/a", n);
  proxy.mend();
  assert.deepEqual(await feeds[0].data(2), [2, 3]);
  await one.heard.next("resumed", ({ topic }) => topic === "cut/a");
  await one.heard.next("resumed", ({ topic }) => topic === "cut/b");
  one.heard.none("gap");
});

test("a gap is told, not resumed", async (t) => {
  const own = await serverOfItsOwn(t, ["retention.frames_max=2"]);
  const proxy = await proxyTo(t, own);
  const one = client(t, proxy.url);
  const feed = await follow(one, Heard, "a");
  await own.post("a", "1");
  await feed.data(1);
  proxy.cut({ refuse: true });
  await one.heard.next("close");
  for (const n of ["2", "3", "4", "5"]) await own.post("a", n);
  proxy.mend();
  const gap = { topic: "a", from: 2, to: 3, frames: 2, reason: "expired" };
  assert.deepEqual(await one.heard.next("gap"), gap);
  assert.deepEqual(await feed.data(2), [4, 5]);
  one.heard.none("resumed");
});

test("a restart is a gap of the reason epoch", async (t) => {
  const own = await serverOfItsOwn(t, []);
  const one = client(t, own.url);
  const feed = await follow(one, Heard, "a");
  await own.post("a", "1");
  await feed.data(1);
  await own.kill();
  await one.heard.next("close");
  await own.startAgain();
  await own.post("a", "2");
  assert.equal((await one.heard.next("gap")).reason, "epoch");
  await own.post("a", "3");
  await feed.next("message", ({ data }) => data === 3);
});

test("a drain says when to come back", async (t) => {
  const delays = ["drain.reconnect_ms_min=300", "drain.reconnect_ms_max=300"];
  const own = await serverOfItsOwn(t, ["drain.window_ms=0", ...delays]);
  const one = client(t, own.url);
  await follow(one, Heard, "a");
  await own.terminate();
  const { code, delay_ms } = await one.heard.next("close");
  assert.deepEqual([code, delay_ms], [1001, 300]);
});

test("silence and sleep are noticed", async (t) => {
  const own = await serverOfItsOwn(t, ["keepalive.heartbeat_ms=1000"]);
  const proxy = await proxyTo(t, own);
  const clock = new SleepyClock();
  const one = client(t, proxy.url, { clock, heartbeat_ms: 1_000 });
  const feed = await follow(one, Heard, "silence");
  await own.post("silence", "1");
  await feed.data(1);
  clock.sleep(3_600_000);
  assert.match((await one.heard.next("close")).reason, /the clock jumped/);
  await one.heard.next("resumed");
  proxy.swallow();
  assert.match((await one.heard.next("close")).reason, /nothing came for|the clock jumped/);
  proxy.mend();
  await one.heard.next("resumed");
});

/** Opens, and says nothing. */
class SilentSource {
  constructor() {
    queueMicrotask(() => this.onopen());
  }

  addEventListener() {}
  close() {}
}

test("by EventSource, which hides heartbeats, silence means nothing; a sleep does", async (t) => {
  const clock = new StillClock();
  const given = { carrier: "eventsource", EventSource: SilentSource, clock };
  const one = client(t, server.url, given);
  await follow(one, Heard, "hidden");
  clock.pass(60_000);
  assert.equal(one.state, "open");
  clock.time_ms += 3_600_000;
  clock.pass(0);
  assert.match((await one.heard.next("close")).reason, /the clock jumped/);
});

test("a token goes in a header, and is replaced when it expires", async (t) => {
  const issuer = new Issuer();
  const own = await serverOfItsOwn(t, issuer.settings(t));
  let asked = 0;
  const token = () => issuer.token({ lasts_s: asked++ > 1 ? 600 : 4 });
  const one = client(t, own.url, { token });
  const feed = await follow(one, Heard, "a");
  await one.publish("a", 1);
  assert.deepEqual(await feed.data(1), [1]);
  const { code, reconnect, delay_ms } = await one.heard.next("close");
  assert.deepEqual([code, reconnect, delay_ms], [4401, "now", 0]);
  await one.publish("a", 2);
  assert.deepEqual(await feed.data(1), [2]);
  one.heard.none("gap");
});

test("a stream that breaks before its first message cannot know what it missed", async (t) => {
  const proxy = await proxyTo(t, server);
  const one = client(t, proxy.url);
  await follow(one, Heard, "unplaced");
  proxy.cut();
  const gap = { topic: "unplaced", from: 0, to: 0, reason: "unknown" };
  assert.deepEqual(await one.heard.next("gap"), gap);
});

test("what is refused for good is told and ends", async (t) => {
  const issuer = new Issuer();
  const own = await serverOfItsOwn(t, issuer.settings(t));
  const one = client(t, own.url, { token: issuer.token({ subscribe: ["b"] }) });
  one.subscribe("a", () => {});
  const { error, retry } = await one.heard.next("error");
  assert.deepEqual([error.code, retry], ["forbidden", "never"]);
  assert.throws(() => one.subscribe("a/#", () => {}), /does not tell topics of a pattern/);
});

test("close() ends every stream, connect() brings them back", async (t) => {
  const one = client(t, server.url);
  const feed = await follow(one, Heard, "closed");
  await server.post("closed", "1");
  await feed.data(1);
  one.close();
  await server.post("closed", "2");
  await assert.rejects(one.publish("closed", 3), { code: "not_sent" });
  one.connect();
  assert.deepEqual(await feed.data(1), [2]);
  assert.equal(one.state, "open");
});

test("bad options are refused by name", () => {
  assert.throws(() => new SseClient(server.url, { heartbeat: 1 }), /unknown option `heartbeat`/);
  assert.throws(() => new SseClient(server.url, { heartbeat_ms: 1 }), { code: "bad_option" });
});
