// The client of a tab and the hub behind it, where there is no shared worker: both in one process,
// against the real server. Two tabs and a real worker are in browser.test.mjs.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { sharedClient } from "@gridcast/client/worker";
import { QUICK, follow } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";
import { Issuer } from "./harness/tokens.mjs";

const EVENTS = ["state", "open", "close", "subscribed", "resumed", "gap", "restarted", "error"];

let server;
before(async () => (server = await Server.start()));
after(() => server.kill());

function client(test, url, options = {}) {
  const made = sharedClient(url, { ...QUICK, script: "none", ...options });
  test.after(() => made.close());
  return Object.assign(made, { heard: Heard.to(made, ...EVENTS) });
}

test("subscribes, publishes, ends", async (t) => {
  const one = client(t, server.url);
  const feed = await follow(one, Heard, "a");
  const bytes = Uint8Array.of(0, 255);
  assert.equal((await one.publish("a", { hz: 50 })).subscribers, 1);
  await one.publish("a", bytes);
  assert.deepEqual(await feed.data(2), [{ hz: 50 }, bytes]);
  await assert.rejects(one.publish("a//b", 1), { code: "bad_request" });
  feed.feed.close();
  assert.equal((await one.publish("a", 1)).subscribers, 0);
  assert.throws(() => one.subscribe("b", 0), { code: "bad_option" });
});

test("a cut is resumed, a restart told", async (t) => {
  const own = await Server.start();
  t.after(() => own.kill());
  const proxy = await Proxy.to(own.port);
  t.after(() => proxy.close());
  const one = client(t, proxy.url);
  const feed = await follow(one, Heard, "a");
  await own.post("a", "1");
  await feed.data(1);
  proxy.cut({ refuse: true });
  await one.heard.next("close");
  await own.post("a", "2");
  proxy.mend();
  await one.heard.next("resumed");
  assert.deepEqual(await feed.data(1), [2]);
  await own.kill();
  await own.startAgain();
  await one.heard.next("restarted");
  assert.equal((await one.heard.next("gap")).reason, "epoch");
});

test("close() and connect() go on where it was", async (t) => {
  const one = client(t, server.url);
  const feed = await follow(one, Heard, "closed");
  await server.post("closed", "1");
  await feed.data(1);
  one.close();
  await server.post("closed", "2");
  one.connect();
  assert.deepEqual(await feed.data(1), [2]);
  await one.heard.next("resumed");
});

test("the token is the tab's", async (t) => {
  const issuer = new Issuer();
  const own = await Server.start(issuer.settings(t));
  t.after(() => own.kill());
  let asked = 0;
  const token = () => {
    if (asked++ === 0) throw new Error("not yet");
    return issuer.token({ subscribe: ["a"] });
  };
  const one = client(t, own.url, { token });
  await follow(one, Heard, "a");
  assert.match((await one.heard.next("error")).error.message, /not yet/);
  one.subscribe("b", () => {});
  const { error, retry } = await one.heard.next("error");
  assert.deepEqual([error.code, retry], ["forbidden", "next_connection"]);
});

test("a slow tab is told what its queue dropped", async (t) => {
  const one = client(t, server.url);
  const slow = new Heard();
  let goOn;
  const handler = (message) => {
    slow.put("message", message);
    return new Promise((go) => (goOn = go));
  };
  one.subscribe("slow", handler, { queue_max: 2 });
  await one.heard.next("subscribed");
  for (let n = 1; n <= 6; n++) await one.publish("slow", n);
  await slow.next("message");
  goOn();
  assert.deepEqual(await one.heard.next("gap"), {
    topic: "slow", from: 2, to: 4, frames: 3, reason: "queue",
  });
  assert.equal((await slow.next("message")).data, 5);
});
