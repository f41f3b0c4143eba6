// Handlers that are slower than what comes: the bounded queue, what it drops and how that is told,
// and only the newest at animation frames. Must not be slow itself: handlers wait for the test.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { client } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Server } from "./harness/server.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server.kill());

/** Answers a promise for each message, which `next` keeps. */
class SlowHandler extends Heard {
  #goOn;

  get handler() {
    return (message) => {
      this.put("message", message);
      return new Promise((goOn) => (this.#goOn = goOn));
    };
  }

  goOn() {
    this.#goOn();
  }
}

test("a slow handler gets one at a time; what is dropped is told in its place", async (t) => {
  const one = client(t, Heard, server.url);
  const slow = new SlowHandler();
  const feed = one.subscribe("slow", slow.handler, { queue_max: 3 });
  feed.on("gap", (gap) => slow.put("message", { gap }));
  await one.heard.next("subscribed");
  for (let n = 1; n <= 9; n++) await one.publish("slow", n);
  await one.publish("slow/other", 0);
  assert.equal((await slow.next("message")).data, 1);
  slow.none("message");
  slow.goOn();
  const { gap } = await slow.next("message");
  assert.deepEqual(gap, { topic: "slow", from: 2, to: 6, frames: 5, reason: "queue" });
  for (const expected of [7, 8, 9]) {
    assert.equal((await slow.next("message")).data, expected);
    slow.none("message");
    slow.goOn();
  }
  assert.deepEqual(feed.position.seq, 9);
});

test("a handler that throws is told to nobody else's cost", async (t) => {
  const one = client(t, Heard, server.url);
  const thrown = new Heard();
  // Where errors of handlers are thrown; uncaught they would end this process, as they should.
  t.mock.method(globalThis, "queueMicrotask", (run) => {
    Promise.resolve().then(run).catch((error) => thrown.put("thrown", error.message));
  });
  const got = new Heard();
  one.subscribe("throws", ({ data }) => {
    if (data === 1) throw new Error("sync");
    if (data === 2) return Promise.reject(new Error("async"));
    got.put("message", { data });
  });
  await one.heard.next("subscribed");
  for (const data of [1, 2, 3]) await one.publish("throws", data);
  assert.deepEqual(await got.data(1), [3]);
  assert.deepEqual([await thrown.next("thrown"), await thrown.next("thrown")], ["sync", "async"]);
});

test("mode latest: the newest of each topic once a frame", async (t) => {
  const frames = [];
  const one = client(t, Heard, server.url, { clock: { frame: (run) => frames.push(run) } });
  const heard = new Heard();
  const feed = one.subscribe("newest/+", heard.handler, { mode: "latest" });
  await one.heard.next("subscribed");
  for (const n of [1, 2, 3]) {
    await one.publish("newest/a", n);
    await one.publish("newest/b", n * 10);
  }
  heard.none("message");
  assert.equal(frames.length, 1, "one frame is asked for");
  frames.pop()();
  assert.deepEqual((await heard.data(2)).sort(), [3, 30]);
  heard.none("message");
  assert.equal(feed.conflated, 4);
  await one.publish("newest/a", 4);
  frames.pop()();
  assert.deepEqual(await heard.data(1), [4]);
});

test("mode latest: a slow handler has the newest when it is ready", async (t) => {
  const one = client(t, Heard, server.url, { clock: { frame: queueMicrotask } });
  const slow = new SlowHandler();
  one.subscribe("newest", slow.handler, { mode: "latest" });
  await one.heard.next("subscribed");
  for (let n = 1; n <= 5; n++) await one.publish("newest", n);
  assert.equal((await slow.next("message")).data, 1);
  slow.goOn();
  assert.equal((await slow.next("message")).data, 5);
  slow.none("message");
});

test("a loss that nobody listens to is written to the console", async (t) => {
  const warned = t.mock.method(console, "warn", () => {});
  const { Client } = await import("@gridcast/client");
  const { default: WebSocket } = await import("ws");
  const one = new Client(server.url, { WebSocket });
  t.after(() => one.close());
  const began = new Heard();
  const feed = one.subscribe("unheard", () => {}, { from: { epoch: "zz", seq: 7 } });
  feed.on("subscribed", () => began.put("subscribed"));
  await began.next("subscribed");
  await one.publish("unheard", 1);
  assert.match(warned.mock.calls[0].arguments.join(" "), /gridcast gap/);
});
