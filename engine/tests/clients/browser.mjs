// A real browser: its WebSocket asked by scenario.mjs, its EventSource, and what a page of another
// origin may do. Prints a row for each check. Owns the page's server and a proxy that cuts streams.
// Usage: CLIENTS_HOME=… node browser.mjs CHROMIUM ENGINE CHECKS, where CHECKS is a JSON array.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { connect, createServer as createProxy } from "node:net";
import { readFileSync } from "node:fs";
import { equal, holds, judged } from "./scenario.mjs";

const [, , executablePath, engine, checks] = process.argv;
const { chromium } = createRequire(`${process.env.CLIENTS_HOME}/package.json`)("playwright-core");
const scenario = readFileSync(new URL("./scenario.mjs", import.meta.url));

async function post(topic, text, type = "text/plain") {
  const answer = await fetch(`${engine}/v1/publish/${topic}`, {
    method: "POST", body: text, headers: { "content-type": type },
  });
  return answer.json();
}

// Answers the port.
function listen(server) {
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

// An origin of its own, with an empty page and the scenario.
const page = createServer((request, response) => {
  const isScript = request.url === "/scenario.mjs";
  response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
  response.end(isScript ? scenario : "<!doctype html><title>clients</title>");
});

// The engine behind something that can break: what it is asked is kept, what it carries is cut.
const asked = [];
const carried = new Set();
const proxy = createProxy((near) => {
  const far = connect(new URL(engine).port, "127.0.0.1");
  carried.add(near);
  near.on("data", (bytes) => asked.push(bytes.toString("latin1")));
  near.pipe(far).pipe(near);
  for (const end of [near, far]) {
    end.on("error", () => {});
    end.on("close", () => (near.destroy(), far.destroy(), carried.delete(near)));
  }
});

// In the page: keeps every event with its id.
function listenTo(url) {
  window.told = [];
  window.source = new EventSource(url);
  const keep = ({ type, data, lastEventId }) => window.told.push([type, data, lastEventId]);
  ["message", "binary", "gap"].forEach((type) => window.source.addEventListener(type, keep));
  return new Promise((resolve) => (window.source.onopen = () => resolve()));
}

async function told(tab, count) {
  await tab.waitForFunction((n) => window.told.length >= n, count, { timeout: 15_000 });
  return tab.evaluate(() => window.told);
}

const ofTheBrowser = {
  "EventSource": async (tab) => {
    await tab.goto(`${engine}/healthz`);
    await tab.evaluate(listenTo, "/v1/feed/events/a");
    const { epoch, seq } = await post("events/a", "one\ntwo");
    await post("events/a", Uint8Array.of(0, 255, 1), "application/octet-stream");
    const id = (after) => `${epoch}-${seq + after}`;
    equal(await told(tab, 2), [["message", "one\ntwo", id(0)], ["binary", "AP8B", id(1)]]);
  },

  "Last-Event-ID": async (tab) => {
    await tab.goto(`http://127.0.0.1:${await listen(proxy)}/healthz`);
    await tab.evaluate(listenTo, "/v1/feed/events/b");
    await post("events/b", "1");
    await told(tab, 1);
    carried.forEach((near) => near.destroy());
    await post("events/b", "2");
    await post("events/b", "3");
    equal((await told(tab, 3)).map(([, data]) => data), ["1", "2", "3"]);
    holds(asked.some((head) => /^last-event-id: \w+-1\r$/im.test(head)), "no Last-Event-ID");
  },

  "CORS": async (tab, origin) => {
    await tab.goto(origin);
    const reply = await tab.evaluate(async (url) => {
      const answer = await fetch(url, {
        method: "POST", body: "{}", headers: { "content-type": "application/json" },
      });
      return answer.json();
    }, `${engine}/v1/publish/events/c`);
    equal(typeof reply.seq, "number");
    await tab.evaluate(listenTo, `${engine}/v1/feed/events/c?from=last`);
    equal((await told(tab, 1))[0].slice(0, 2), ["message", "{}"]);
    const refused = await tab.evaluate(
      async (url) => (await fetch(url)).status, `${engine}/v1/feed/events/c?from=never`,
    );
    equal(refused, 400);
  },
};

async function main() {
  const origin = `http://127.0.0.1:${await listen(page)}/`;
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const client = { name: "chromium", version: browser.version() };
  const tab = await browser.newPage();
  await tab.exposeFunction("post", post);
  await tab.goto(origin);
  const rows = await tab.evaluate(async ([client, engine, checks]) => {
    const { openStandard, run } = await import("/scenario.mjs");
    const open = (path, { protocols = [] } = {}) =>
      openStandard(WebSocket, engine.replace("http", "ws") + path, protocols);
    return run({ ...client, open, post: window.post }, checks);
  }, [client, engine, JSON.parse(checks)]);
  for (const check of JSON.parse(checks).filter((name) => ofTheBrowser[name])) {
    rows.push(await judged(client, check, () => ofTheBrowser[check](tab, origin)));
  }
  rows.forEach((row) => console.log(JSON.stringify(row)));
  await browser.close();
}

await main();
process.exit(0);
