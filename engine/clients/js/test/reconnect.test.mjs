// When a client connects again: the table of close codes as the server prints it, the jitter, and
// what resets it. Must not wait for real delays.

import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { Client } from "@gridcast/client";
import { StillClock } from "./harness/clock.mjs";
import { Heard } from "./harness/heard.mjs";
import { BINARY } from "./harness/server.mjs";
import { Greeting, Refused, closing } from "./harness/sockets.mjs";

const page = false;

function broken(WebSocket, options = {}) {
  const clock = options.clock ?? new StillClock();
  const client = new Client("ws://127.0.0.1:9", { WebSocket, page, clock, ...options });
  const heard = Heard.to(client, "close", "state", "open", "error");
  client.connect();
  return { client, clock, heard };
}

const printed = execFileSync(BINARY, ["close-codes"], { encoding: "utf8" });
const table = printed.trim().split("\n").slice(1);

test("the table of close codes is there", () => assert.ok(table.length >= 14, table.join("\n")));

for (const row of table) {
  const [code, reconnect] = row.split(/\s+/);
  test(`close ${code}: ${reconnect}`, async () => {
    const { client, heard } = broken(closing([Number(code), ""]));
    const told = await heard.next("close");
    assert.deepEqual([told.code, told.reconnect], [Number(code), reconnect]);
    assert.equal(client.state, reconnect === "no" ? "closed" : "waiting");
    if (reconnect === "now") assert.equal(told.delay_ms, 0);
    client.close();
  });
}

test("codes that are not in the table are tried again", async () => {
  for (const code of [1005, 1006, 1011, 1012, 3000, 4999]) {
    const { client, heard } = broken(closing([code, ""]));
    assert.equal((await heard.next("close")).reconnect, "later");
    client.close();
  }
});

test("the bound of the delay doubles from 0.5 to 20 s, the delay is below it", async () => {
  const bounds = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000];
  for (const share of [1, 0.25, 0]) {
    const clock = Object.assign(new StillClock(), { random: () => share });
    const { client, heard } = broken(Refused, { clock });
    for (const bound_ms of bounds) {
      assert.equal((await heard.next("close")).delay_ms, Math.round(bound_ms * share));
      clock.pass(bound_ms * share);
    }
    client.close();
  }
});

test("ten seconds of connection begin anew, less do not", async () => {
  for (const [up_ms, expected_ms] of [[9_999, 1_000], [10_000, 500]]) {
    const { client, clock, heard } = broken(Greeting);
    const delays = [];
    for (let times = 0; times < 2; times++) {
      await heard.next("open");
      clock.time_ms += up_ms;
      Greeting.last.onclose({ code: 1006, reason: "" });
      const { delay_ms } = await heard.next("close");
      delays.push(delay_ms);
      clock.pass(delay_ms);
    }
    assert.deepEqual(delays, [500, expected_ms]);
    client.close();
  }
});

test("`now` is granted once: an end right after the beginning is no loop", async () => {
  const { client, clock, heard } = broken(closing([4409, "missed 4-15"]));
  assert.equal((await heard.next("close")).delay_ms, 0);
  clock.pass(0);
  assert.equal((await heard.next("close")).delay_ms, 1_000);
  client.close();
});

test("a draining server's delay is taken as it says, not doubled", async () => {
  const drained = closing([1001, "draining: reconnect in 1234 ms"]);
  const { client, clock, heard } = broken(drained);
  for (let times = 0; times < 3; times++) {
    assert.equal((await heard.next("close")).delay_ms, 1_234);
    clock.pass(1_233);
    assert.equal(client.state, "waiting");
    clock.pass(1);
    assert.equal(client.state, "connecting");
  }
  client.close();
});

test("without a greeting in time a connection is given up", async () => {
  class Silent {
    close() {}
  }
  const { client, clock, heard } = broken(Silent, { connect_timeout_ms: 3_000 });
  await Promise.resolve();
  clock.pass(3_000);
  const { code, reason } = await heard.next("close");
  assert.deepEqual([code, reason], [1006, "not connected within 3000 ms"]);
  client.close();
});

test("after `no` nothing waits, and connect() begins again", async () => {
  const WebSocket = closing([4403, "forbidden topic"]);
  const { client, clock, heard } = broken(WebSocket);
  await heard.next("close");
  assert.deepEqual(clock.delays, []);
  client.connect();
  await heard.next("close");
  assert.equal(WebSocket.opened, 2);
});

test("bad options are refused by name", () => {
  const make = (options, url = "ws://h") =>
    () => new Client(url, { WebSocket: Refused, ...options });
  assert.throws(make({ reconnect_ms_mx: 1 }), { code: "bad_option", message: /`reconnect_ms_mx`/ });
  const range = "`publishes_max` must be a number from 1 to 1000000";
  assert.throws(make({ publishes_max: 0 }), { message: range });
  assert.throws(make({ publishes_max: "9x" }), { code: "bad_option" });
  assert.throws(make({}, "ftp://h"), { message: /must be an http or ws address, not "ftp/ });
  assert.throws(make({}, "nonsense"), { code: "bad_option" });
  const client = make({})();
  assert.throws(() => client.subscribe("a"), { message: "`handler` must be a function" });
  assert.throws(() => client.subscribe("a", () => {}, { queue_max: 0 }), { code: "bad_option" });
  client.subscribe("a", () => {});
  assert.throws(() => client.subscribe("a", () => {}), { code: "already_subscribed" });
  client.close();
});
