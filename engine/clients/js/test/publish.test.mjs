// Publishes and their answers, payloads of each kind, and what becomes of a publish when the
// connection does not last. Must not test subscriptions.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { GridcastError } from "@gridcast/client";
import { client, follow } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";

let server;
before(async () => (server = await Server.start(["limits.publishes_per_s_max=1000"])));
after(() => server.kill());

const PAYLOADS = [
  { hz: 59.98, ok: true, name: "grüße 🙂" }, [1, 2, [3]],
  "a string", "59.98", "", 0, null, false,
  Uint8Array.of(0, 255, 1), new Uint8Array(0),
  Uint8Array.from({ length: 100_000 }, (_, at) => at % 251),
];

for (const protocol of ["gridcast.v1.bin", "gridcast.v1.json"]) {
  test(`${protocol}: what is published is what comes`, async (t) => {
    const one = client(t, Heard, server.url, { protocols: [protocol] });
    const topic = `payloads/${protocol}`;
    const feed = await follow(one, Heard, topic);
    const answers = await Promise.all(PAYLOADS.map((data) => one.publish(topic, data)));
    assert.deepEqual(answers.map(({ seq }) => seq), PAYLOADS.map((_, at) => at + 1));
    assert.ok(answers.every(({ epoch, subscribers }) => epoch && subscribers === 1));
    assert.deepEqual(await feed.data(PAYLOADS.length), PAYLOADS);
  });

  test(`${protocol}: text goes as it is, and comes as what it is`, async (t) => {
    const one = client(t, Heard, server.url, { protocols: [protocol] });
    const topic = `text/${protocol}`;
    const feed = await follow(one, Heard, topic);
    for (const text of ["out of service", "{\"a\":1}", "\ufeffmark"]) {
      await one.publish(topic, text, { text: true });
    }
    assert.deepEqual(await feed.data(3), ["out of service", { a: 1 }, "\ufeffmark"]);
  });
}

test("views and buffers are bytes", async (t) => {
  const one = client(t, Heard, server.url);
  const feed = await follow(one, Heard, "views");
  const bytes = Uint8Array.of(9, 1, 2, 9);
  await one.publish("views", bytes.subarray(1, 3));
  await one.publish("views", Uint8Array.of(1, 2).buffer);
  await one.publish("views", new DataView(bytes.buffer, 1, 2));
  assert.deepEqual(await feed.data(3), Array(3).fill(Uint8Array.of(1, 2)));
});

test("errors of the server have their code", async (t) => {
  const one = client(t, Heard, server.url);
  for (const [topic, data, code] of [
    ["$sys/x", 1, "forbidden"], ["a//b", 1, "bad_request"], ["a", undefined, "bad_request"],
  ]) {
    const failed = await one.publish(topic, data).catch((error) => error);
    assert.ok(failed instanceof GridcastError, String(failed));
    assert.equal(failed.code, code);
  }
  one.heard.none("close");
});

test("what cannot be written as JSON fails at once and hinders nobody", async (t) => {
  const one = client(t, Heard, server.url);
  await assert.rejects(one.publish("a", 1n), TypeError);
  assert.ok((await one.publish("a", 1)).seq > 0);
});

test("too many in a second is an error of that publish alone", async (t) => {
  const one = client(t, Heard, server.url, { publishes_max: 5_000 });
  const all = Array.from({ length: 3_000 }, (_, n) => one.publish("fast", n));
  const refused = (await Promise.allSettled(all)).filter(({ status }) => status === "rejected");
  assert.ok(refused.length > 0);
  assert.ok(refused.every(({ reason }) => reason.code === "rate_limited"));
  one.heard.none("close");
});

test("before the connection they wait, in order, and are sent once", async (t) => {
  const one = client(t, Heard, server.url);
  const all = [1, 2, 3].map((data) => one.publish("waiting", data));
  assert.deepEqual((await Promise.all(all)).map(({ seq }) => seq), [1, 2, 3]);
});

test("as many as publishes_max wait, and no more", async (t) => {
  const one = client(t, Heard, "ws://127.0.0.1:9", { publishes_max: 2 });
  const waiting = [one.publish("a", 1), one.publish("a", 2)];
  await assert.rejects(one.publish("a", 3), { code: "not_sent", message: /publishes_max: 2/ });
  one.close();
  for (const one of waiting) await assert.rejects(one, { code: "not_sent" });
});

test("one that got no answer is never said to be lost, and never sent twice", async (t) => {
  const proxy = await Proxy.to(server.port);
  t.after(() => proxy.close());
  const one = client(t, Heard, proxy.url, { publish_timeout_ms: 3_600_000 });
  const feed = await follow(one, Heard, "unsure");
  await one.publish("unsure", 1);
  proxy.swallow();
  const unsure = one.publish("unsure", 2);
  proxy.mend();
  proxy.cut();
  await assert.rejects(unsure, { code: "unacknowledged", message: /may have been published/ });
  await one.heard.next("resumed");
  await one.publish("unsure", 3);
  assert.deepEqual(await feed.data(2), [1, 3]);
});

test("one that is not answered in time says so", async (t) => {
  const proxy = await Proxy.to(server.port);
  t.after(() => proxy.close());
  const one = client(t, Heard, proxy.url, { publish_timeout_ms: 50 });
  await one.publish("late", 1);
  proxy.swallow();
  await assert.rejects(one.publish("late", 2), { message: /no answer within 50 ms: it may have/ });
});

test("what the server would not take is not sent, and ends nothing", async (t) => {
  const own = await Server.start(["limits.message_bytes_max=1000"]);
  t.after(() => own.kill());
  const one = client(t, Heard, own.url);
  one.connect();
  await one.heard.next("open");
  for (const data of ["x".repeat(1000), "ü".repeat(490), "🙂".repeat(245), new Uint8Array(760)]) {
    await assert.rejects(one.publish("a", data), { code: "not_sent", message: /too long/ });
  }
  assert.equal((await one.publish("a", "x".repeat(800))).seq, 1);
  one.heard.none("close");
});
