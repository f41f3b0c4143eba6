// The built package in a real browser, against the real server: what stand-ins cannot show. Needs
// Chromium and Firefox (Debian packages; or the variables CHROMIUM and FIREFOX).

import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Browser, told } from "./harness/pages.mjs";
import { Server } from "./harness/server.mjs";

// ---- what runs in the page ----

async function direct(url, topic, options = {}) {
  const { Client } = await import("/dist/gridcast.min.js");
  window.client = new Client(url, { reconnect_ms_min: 20, reconnect_ms_max: 200, ...options });
  window.keep(window.client, "open", "close", "subscribed", "resumed", "gap", "restarted", "state");
  window.client.subscribe(topic, ({ data }) => window.told.push({ event: "message", data }));
}

async function shared(url, topic, options = {}) {
  const { sharedClient } = await import("/dist/esm/worker.js");
  const script = "/dist/shared-worker.js";
  const quick = { reconnect_ms_min: 20, reconnect_ms_max: 200 };
  window.client = sharedClient(url, { script, ...quick, ...options });
  window.keep(window.client, "open", "close", "subscribed", "resumed", "gap", "restarted", "state");
  window.client.subscribe(topic, ({ data }) => window.told.push({ event: "message", data }),
    { from: "last" });
}

async function events(url, topic, carrier) {
  const { SseClient } = await import("/dist/esm/sse.js");
  window.client = new SseClient(url, { carrier, reconnect_ms_min: 20, reconnect_ms_max: 200 });
  window.keep(window.client, "open", "close", "subscribed", "resumed", "gap");
  window.client.subscribe(topic, ({ data }) => {
    const plain = data instanceof Uint8Array ? [...data].join() : data;
    window.told.push({ event: "message", data: plain });
  });
}

async function rendered(url, topic) {
  const { createElement, createRoot, StrictMode, FeedProvider, useFeed } =
    await import("/react.js");
  const { Client } = await import("/dist/gridcast.min.js");
  function Value({ of }) {
    const { data, state } = useFeed(of);
    window.renders = (window.renders ?? 0) + 1;
    return createElement("p", null, `${state} ${data?.hz ?? "none"}`);
  }
  window.client = new Client(url);
  const both = [0, 1].map((key) => createElement(Value, { key, of: topic }));
  window.show = (what) => window.root.render(
    createElement(StrictMode, null, createElement(FeedProvider, { client: window.client }, what)),
  );
  window.both = both;
  window.root = createRoot(document.getElementById("root"));
  window.show(both);
}

for (const kind of BROWSERS) describe(`in ${kind.name}`, { skip: kind.lack }, () => {
  const is_chromium = kind.name === "Chromium";
  let server;
  let browser;
  before(async () => {
    server = await Server.start();
    browser = await Browser.start(kind);
  });
  after(async () => {
    await browser?.stop();
    await server?.kill();
  });

  const post = (topic, value) =>
    server.post(topic, JSON.stringify(value), { "content-type": "application/json" });

  /** Waits until a topic has so many subscribers. */
  async function subscribers(topic, expected) {
    const until = Date.now() + 30_000;
    for (;;) {
      const { subscribers } = await post(topic, "counted");
      if (subscribers === expected) return;
      assert.ok(Date.now() < until, `${subscribers} subscribers of ${topic}, not ${expected}`);
    }
  }

  const sockets = () => server.metric("gridcast_connections{role=\"multiplexed\"}");

  test("the example of the README, as it stands there", async (t) => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const example = /```html\n(.*?)```/s.exec(readme)[1];
    browser.pages.set("/token", "none is needed here");
    browser.pages.set("/example", example.replace("https://gridcast.example.com", server.url)
      .replace("./node_modules/@gridcast/client/", "/"));
    assert.ok(browser.pages.get("/example").includes(server.url));
    const tab = await browser.driven.newPage();
    t.after(() => tab.close());
    await tab.goto(`${browser.origin}/example`);
    await tab.waitForFunction(() => document.title === "Frequency: open");
    await subscribers("pmu/1001", 2);
    await post("pmu/1001", { hz: 59.98 });
    await tab.waitForFunction(() => document.getElementById("hz").innerText === "59.98 Hz");
  });

  test("a restart of the server", async (t) => {
    const own = await Server.start();
    t.after(() => own.kill());
    const tab = await browser.tab(t, direct, own.url, "restart");
    await told(tab, "subscribed");
    await own.post("restart", "1");
    await told(tab, "message", { data: 1 });
    await own.kill();
    await told(tab, "close", { code: 1006 });
    await own.startAgain();
    await told(tab, "restarted");
    assert.equal((await told(tab, "gap")).reason, "epoch");
    await own.post("restart", "2");
    await told(tab, "message", { data: 2 });
  });

  test("two tabs share one socket, and a tab that died is noticed", async (t) => {
    const before = await sockets();
    const one = await browser.tab(t, shared, server.url, "tabs/both");
    await told(one, "subscribed");
    await post("tabs/both", 1);
    await told(one, "message", { data: 1 });
    const other = await browser.tab(t, shared, server.url, "tabs/both");
    await told(other, "message", { data: 1 }); // the newest, which the worker has
    assert.equal((await sockets()) - before, 1);
    await post("tabs/both", 2);
    await told(one, "message", { data: 2 });
    await told(other, "message", { data: 2 });
    const { seq } = await other.evaluate(() => window.client.publish("tabs/both", 3));
    assert.equal(seq, 3);
    await told(one, "message", { data: 3 });

    await other.evaluate(() => window.client.subscribe("tabs/mine", () => {}));
    await subscribers("tabs/mine", 1);
    if (is_chromium) other.goto("chrome://crash").catch(() => {});
    else await other.close({ runBeforeUnload: false });
    await subscribers("tabs/mine", 0);
    await post("tabs/both", 4);
    await told(one, "message", { data: 4 });
    assert.equal((await sockets()) - before, 1);
    await one.evaluate(() => window.client.close());
    await subscribers("tabs/both", 0);
  });

  test("a topic that tabs follow differently has a socket more, while it has to", async (t) => {
    const before = await sockets();
    await post("differ", 1);
    const one = await browser.tab(t, shared, server.url, "differ", { name: "differ" });
    await told(one, "message", { data: 1 });
    const other = await browser.tab(t, shared, server.url, "unrelated", { name: "differ" });
    await told(other, "subscribed");
    await other.evaluate(() => window.client.subscribe("differ",
      ({ data }) => window.told.push({ event: "differ", data }), { from: "oldest" }));
    await told(other, "differ", { data: 1 });
    await post("differ", 2);
    await told(one, "message", { data: 2 });
    await told(other, "differ", { data: 2 });
    const until = Date.now() + 30_000;
    while ((await sockets()) - before !== 1) assert.ok(Date.now() < until, "merged again");
    await post("differ", 3);
    await told(one, "message", { data: 3 });
    await told(other, "differ", { data: 3 });
  });

  // Where tabs of one origin share a process, all of them freeze.
  const freezes_others = is_chromium ? false : "no tab can be frozen alone";
  const frozen_test = "a tab that is frozen costs no more than its queue, and is told";
  test(frozen_test, { skip: freezes_others }, async (t) => {
    const name = "frozen";
    const frozen = await browser.tab(t, shared, server.url, "frozen/idle", { name });
    await told(frozen, "subscribed");
    await frozen.evaluate(() => window.client.subscribe("frozen",
      ({ data }) => window.told.push({ event: "frozen", data }), { queue_max: 10 }));
    await told(frozen, "subscribed", { topic: "frozen" });
    const other = await browser.tab(t, shared, server.url, "frozen", { name });
    await told(other, "subscribed");
    let release;
    browser.held = new Promise((resolve) => (release = resolve));
    const asked = browser.asked("/held");
    const waits = frozen.evaluate(() => {
      const request = new XMLHttpRequest();
      request.open("GET", "/held", false);
      request.send();
    });
    await asked;
    for (let n = 1; n <= 200; n++) await post("frozen", n);
    await told(other, "message", { data: 200 });
    release();
    await waits;
    await told(frozen, "frozen", { data: 1 });
    const { from, to, frames } = await told(frozen, "gap", { topic: "frozen", reason: "queue" });
    assert.deepEqual([to, frames], [190, to - from + 1]);
    await told(frozen, "frozen", { data: 191 });
    await told(frozen, "frozen", { data: 200 });
  });

  const skip = is_chromium ? false : "nothing but Chromium's own protocol ends a worker";
  test("a tab whose worker died has another", { skip }, async (t) => {
    const one = await browser.tab(t, shared, server.url, "worker", { name: "dies" });
    await told(one, "subscribed");
    await post("worker", 1);
    await told(one, "message", { data: 1 });
    const is_worker = (target) => target.type() === "shared_worker";
    const target = browser.driven.targets().filter(is_worker).at(-1);
    const session = await target.createCDPSession();
    session.send("Runtime.evaluate", { expression: "close()" }).catch(() => {});
    await told(one, "resumed");
    await post("worker", 2);
    await told(one, "message", { data: 2 });
  });

  test("without its script a tab connects itself", async (t) => {
    const missing = { script: "/dist/missing.js" };
    const tab = await browser.tab(t, shared, server.url, "scriptless", missing);
    await told(tab, "subscribed");
    await post("scriptless", 1);
    await told(tab, "message", { data: 1 });
  });

  for (const carrier of ["fetch", "eventsource"]) {
    test(`event streams by ${carrier}`, async (t) => {
      const own = await Server.start();
      t.after(() => own.kill());
      const tab = await browser.tab(t, events, own.url, "sse", carrier);
      await told(tab, "subscribed");
      const { seq } = await tab.evaluate(() => window.client.publish("sse", { a: 1 }));
      assert.equal(seq, 1);
      await own.post("sse", Uint8Array.of(0, 255), { "content-type": "application/octet-stream" });
      await told(tab, "message", { data: "0,255" });
      await own.kill();
      await told(tab, "close");
      await own.startAgain();
      await own.post("sse", "3");
      assert.equal((await told(tab, "gap")).reason, "epoch");
      await own.post("sse", "4");
      await told(tab, "message", { data: 4 });
    });
  }

  test("a page that comes back from the cache goes on where it was", async (t) => {
    const tab = await browser.tab(t, direct, server.url, "bfcache");
    await told(tab, "subscribed");
    await post("bfcache", 1);
    await told(tab, "message", { data: 1 });
    await tab.evaluate(() => {
      addEventListener("pageshow",
        ({ persisted }) => window.told.push({ event: "shown", persisted }));
    });
    await tab.goto(`${browser.origin}/other`);
    await subscribers("bfcache", 0);
    await post("bfcache", 2);
    await tab.goBack();
    await told(tab, "shown", { persisted: true });
    await told(tab, "resumed");
    await told(tab, "message", { data: 2 });
  });

  test("a shared client comes back from the cache as well", async (t) => {
    const tab = await browser.tab(t, shared, server.url, "bfcache/shared", { name: "bf" });
    await told(tab, "subscribed");
    await post("bfcache/shared", 1);
    await told(tab, "message", { data: 1 });
    await tab.goto(`${browser.origin}/other`);
    await subscribers("bfcache/shared", 0);
    await post("bfcache/shared", 2);
    await tab.goBack();
    await told(tab, "resumed");
    await told(tab, "message", { data: 2 });
  });

  test("hidden it pauses, seen it resumes", async (t) => {
    const tab = await browser.tab(t, direct, server.url, "hidden", { pause_hidden_ms: 20 });
    await told(tab, "subscribed");
    await post("hidden", 1);
    await told(tab, "message", { data: 1 });
    const other = await browser.driven.newPage();
    await other.bringToFront();
    await told(tab, "state", { state: "paused" });
    await post("hidden", 2);
    await tab.bringToFront();
    await told(tab, "resumed");
    await told(tab, "message", { data: 2 });
    await other.close();
  });

  test("the network is back: at once", async (t) => {
    const own = await Server.start();
    t.after(() => own.kill());
    const slow = { reconnect_ms_min: 600_000, reconnect_ms_max: 3_600_000 };
    const tab = await browser.tab(t, direct, own.url, "online", slow);
    await told(tab, "subscribed");
    await tab.setOfflineMode(true);
    await own.kill();
    await told(tab, "close");
    await own.startAgain();
    await tab.setOfflineMode(false);
    await told(tab, "restarted");
  });

  test("useFeed renders what a topic says, in strict mode, by one subscription", async (t) => {
    const tab = await browser.tab(t, rendered, server.url, "react");
    const shows = (text) =>
      tab.waitForFunction((text) => document.body.innerText.trim() === text, {}, text);
    await shows("active none\n\nactive none");
    await subscribers("react", 1);
    await post("react", { hz: 50.01 });
    await shows("active 50.01\n\nactive 50.01");
    await tab.evaluate(() => window.show(window.both[0]));
    await post("react", { hz: 50.02 });
    await shows("active 50.02");
    await tab.evaluate(() => window.show(null));
    await subscribers("react", 0);
  });

  test("a burst renders about once a frame", async (t) => {
    const tab = await browser.tab(t, rendered, server.url, "burst");
    await tab.waitForFunction(() => document.body.innerText.includes("active"));
    await tab.evaluate(() => (window.renders = 0));
    const count = 500;
    await Promise.all(Array.from({ length: count }, () => post("burst", { hz: 1 })));
    await post("burst", { hz: 2 });
    await tab.waitForFunction(() => document.body.innerText.includes("active 2"));
    const renders = await tab.evaluate(() => window.renders);
    assert.ok(renders > 0 && renders < count, `${renders} renders of ${count} messages`);
  });
});
