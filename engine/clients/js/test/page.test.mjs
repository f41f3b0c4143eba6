// The life cycle of a page, driven by events of stand-ins for window and document, against the real
// server. What a browser does by itself is tested in browser.test.mjs.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { client, follow } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";

const HOUR_MS = 3_600_000;

let server;
before(async () => (server = await Server.start()));
after(() => server.kill());

class Page {
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });

  tell(event) {
    this.window.dispatchEvent(new Event(event));
  }

  turn(visibilityState) {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }
}

async function onPage(test, options = {}) {
  const proxy = await Proxy.to(server.port);
  test.after(() => proxy.close());
  const page = new Page();
  const one = client(test, Heard, proxy.url, { page, ...options });
  const feed = await follow(one, Heard, `page/${test.name}`);
  const post = (body) => server.post(encodeURI(`page/${test.name}`), body);
  return { proxy, page, one, feed, post };
}

// Nothing but the page's events brings this client back: its own delays are too long.
const SLOW = { reconnect_ms_min: 600_000, reconnect_ms_max: HOUR_MS, clock: { random: () => 1 } };

for (const [name, come] of [
  ["online", (page) => page.tell("online")],
  ["visible", (page) => page.turn("visible")],
  ["pageshow", (page) => page.tell("pageshow")],
]) {
  test(`${name} connects at once`, async (t) => {
    const { proxy, page, one } = await onPage(t, SLOW);
    proxy.cut();
    assert.equal((await one.heard.next("close")).delay_ms, 600_000);
    come(page);
    await one.heard.next("resumed");
  });

  test(`${name} finds a dead way`, async (t) => {
    const { proxy, page, one } = await onPage(t, { check_timeout_ms: 50 });
    proxy.swallow();
    come(page);
    assert.equal((await one.heard.next("close")).reason, "no answer within 50 ms");
    proxy.mend();
    await one.heard.next("resumed");
  });

  test(`${name} opens nothing that the user closed`, async (t) => {
    const { proxy, page, one } = await onPage(t, SLOW);
    const opened = proxy.opened;
    one.close();
    come(page);
    await new Promise(setImmediate);
    assert.deepEqual([one.state, proxy.opened], ["closed", opened]);
  });
}

test("a living connection outlasts every look at it", async (t) => {
  const { page, one, feed, post, proxy } = await onPage(t, { check_timeout_ms: 5_000 });
  ["online", "pageshow"].forEach((event) => page.tell(event));
  ["hidden", "visible"].forEach((state) => page.turn(state));
  await post("1");
  assert.deepEqual(await feed.data(1), [1]);
  assert.equal(proxy.opened, 1);
  one.heard.none("close");
});

test("a page that goes lets go of its socket, and comes back where it was", async (t) => {
  const { page, one, feed, post } = await onPage(t);
  page.tell("pagehide");
  assert.equal(one.state, "paused");
  await post("1");
  page.tell("pageshow");
  await one.heard.next("resumed");
  assert.deepEqual(await feed.data(1), [1]);
});

test("hidden, it stays connected by default", async (t) => {
  const { page, one, feed, post } = await onPage(t);
  page.turn("hidden");
  await post("1");
  assert.deepEqual(await feed.data(1), [1]);
  assert.equal(one.state, "open");
});

test("hidden for pause_hidden_ms, it pauses until it is seen", async (t) => {
  const { page, one, feed, post } = await onPage(t, { pause_hidden_ms: 20 });
  page.turn("hidden");
  await one.heard.next("state", ({ state }) => state === "paused");
  page.tell("online");
  assert.equal(one.state, "paused");
  await post("1");
  page.turn("visible");
  await one.heard.next("resumed");
  assert.deepEqual(await feed.data(1), [1]);
});

test("seen again before that, it does not pause", async (t) => {
  const { page, one, feed, post } = await onPage(t, { pause_hidden_ms: HOUR_MS });
  page.turn("hidden");
  page.turn("visible");
  await post("1");
  assert.deepEqual(await feed.data(1), [1]);
  one.heard.none("close");
});
