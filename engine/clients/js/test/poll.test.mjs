// The client over long polling, against the real server. Must not test the endpoint itself.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { PollClient } from "@gridcast/client/poll";
import { follow } from "./harness/clients.mjs";
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
  const made = new PollClient(url, { ...QUICK, ...options });
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

test("what is published is what comes, and nothing is asked for twice", async (t) => {
  const one = client(t, server.url);
  const feed = await follow(one, Heard, "kinds/grüße 🙂");
  const payloads = [{ a: 1 }, "text", "two\nlines", 5, null, Uint8Array.of(0, 255, 1), ""];
  for (const data of payloads) await one.publish("kinds/grüße 🙂", data);
  assert.deepEqual(await feed.data(payloads.length), payloads);
  await one.publish("kinds/grüße 🙂", "plain\r\nlines", { text: true });
  assert.deepEqual(await feed.data(1), ["plain\r\nlines"]);
  const { protocol } = await one.heard.next("open");
  assert.equal(protocol, "poll");
  one.heard.none("gap");
});

test("a pattern tells the topic of each message", async (t) => {
  const one = client(t, server.url);
  const topics = [];
  const seen = new Promise((resolve) => {
    one.subscribe("bay/#", ({ topic, pattern, data }) => {
      topics.push([topic, pattern, data]);
      if (topics.length === 2) resolve();
    });
  });
  await one.heard.next("subscribed");
  await server.post("bay/1", "1");
  await server.post("bay/2", "2");
  await seen;
  assert.deepEqual(topics, [["bay/1", "bay/#", 1], ["bay/2", "bay/#", 2]]);
});

test("a cut is resumed where it was, also before the first message", async (t) => {
  const proxy = await proxyTo(t, server);
  const one = client(t, proxy.url);
  const feeds = [await follow(one, Heard, "cut/a"), await follow(one, Heard, "cut/b")];
  await server.post("cut/a", "1");
  assert.deepEqual(await feeds[0].data(1), [1]);
  proxy.cut({ refuse: true });
  await one.heard.next("close");
  for (const n of ["2", "3"]) await server.post("cut/a", n);
  await server.post("cut/b", "4");
  proxy.mend();
  assert.deepEqual(await feeds[0].data(2), [2, 3]);
  assert.deepEqual(await feeds[1].data(1), [4]);
  one.heard.none("gap");
});

test("a gap is told", async (t) => {
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
  const { from, to, frames, reason } = await one.heard.next("gap");
  assert.deepEqual([from, to, frames, reason], [2, 3, 2, "expired"]);
  assert.deepEqual(await feed.data(2), [4, 5]);
});

test("a server that is started again is told as a gap, and followed on", async (t) => {
  const own = await serverOfItsOwn(t, []);
  const one = client(t, own.url);
  const feed = await follow(one, Heard, "a");
  await own.post("a", "1");
  assert.deepEqual(await feed.data(1), [1]);
  await own.kill();
  await own.startAgain();
  const { reason } = await one.heard.next("gap");
  assert.equal(reason, "epoch");
  await own.post("a", "2");
  assert.deepEqual(await feed.data(1), [2]);
});

test("a token that ends is replaced, and nothing is missed", async (t) => {
  const issuer = new Issuer();
  const own = await serverOfItsOwn(t, issuer.settings(t));
  const post = (topic, body) => own.post(topic, body, {
    "content-type": "text/plain", authorization: `Bearer ${issuer.token()}`,
  });
  let asked = 0;
  const one = client(t, own.url, { token: () => issuer.token({ lasts_s: asked++ ? 600 : 4 }) });
  const feed = await follow(one, Heard, "a");
  await post("a", "1");
  const { code, reconnect } = await one.heard.next("close");
  assert.deepEqual([code, reconnect], [4401, "now"]);
  await post("a", "2");
  assert.deepEqual(await feed.data(2), [1, 2]);
  one.heard.none("gap");
});
