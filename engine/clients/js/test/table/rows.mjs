// The rows of ../../../behaviours.json for JavaScript: what is done to a server or the way to it,
// and what an agent must tell of it. Must not know which runtime the agent is in.

import { strict as assert } from "node:assert";

/** Silence is noticed after two of these; a busy machine must not be silent so long by itself. */
const HEARTBEAT_MS = 500;
const LIVELY = [`keepalive.heartbeat_ms=${HEARTBEAT_MS}`];
const HOUR_MS = 3_600_000;
/** Long enough to connect on a busy machine, short enough to wait for. */
const TOKEN_S = 5;

const drain = (delay_ms) => [
  "drain.window_ms=100",
  `drain.reconnect_ms_min=${delay_ms}`, `drain.reconnect_ms_max=${delay_ms}`,
];

export const ROWS = {
  async restart({ serve, connect }) {
    const server = await serve(drain(50));
    const one = await connect(server.url);
    await one.follow("a");
    await server.post("a", "1");
    await one.messages([1]);
    await server.terminate();
    await server.startAgain();
    await server.post("a", "2");
    const { epoch, previous } = await one.next("restarted");
    assert.notEqual(epoch, previous);
    assert.equal((await one.next("gap")).reason, "epoch");
    await server.post("a", "3");
    await one.messages([2, 3]);
    one.none("resumed");
  },

  async drain({ serve, connect }) {
    const server = await serve(drain(700));
    const one = await connect(server.url);
    await one.follow("a");
    const ended = server.terminate();
    const { code, reconnect, delay_ms } = await one.next("close");
    assert.deepEqual([code, reconnect, delay_ms], [1001, "later", 700]);
    await ended;
    await server.startAgain();
    await one.next("restarted");
  },

  async kill({ serve, connect }) {
    const server = await serve();
    const one = await connect(server.url);
    await one.follow("a");
    await server.post("a", "1");
    await one.messages([1]);
    server.stall(); // Nothing is answered from here on.
    await one.do("publish", "a", 2);
    await server.kill();
    assert.equal((await one.next("close")).code, 1006);
    assert.equal((await one.next("refused")).code, "unacknowledged");
    await server.startAgain();
    await one.next("restarted");
    assert.equal((await one.next("gap")).reason, "epoch");
    await server.post("a", "3");
    await one.messages([3]);
    one.none("published");
  },

  async stall({ serve, connect }) {
    const server = await serve(LIVELY);
    const one = await connect(server.url, { connect_timeout_ms: 2_000 });
    await one.follow("a");
    server.stall();
    const posted = server.post("a", "1");
    const { code, reconnect, reason } = await one.next("close");
    assert.deepEqual([code, reconnect], [1006, "later"]);
    assert.match(reason, /nothing came for \d+ ms|no answer within/);
    server.goOn();
    await one.next("resumed");
    await posted;
    await one.messages([1]);
    one.none("gap");
  },

  async cut({ serve, way, connect }) {
    const server = await serve(LIVELY);
    const proxy = await way(server);
    const one = await connect(proxy.url, { connect_timeout_ms: 2_000 });
    for (const topic of ["a", "b"]) await one.follow(topic);
    let n = 0;
    const troubles = [() => proxy.cut({ refuse: true }), () => proxy.swallow()];
    for (const trouble of troubles) {
      await server.post("a", `${++n}`);
      await one.messages([n]);
      one.none("gap");
      one.forget(); // A cut may have ended more than one attempt.
      trouble();
      assert.equal((await one.next("close")).code, 1006);
      await server.post("a", `${++n}`);
      await server.post("a", `${++n}`);
      proxy.mend();
      await one.messages([n - 1, n]);
      for (const topic of ["a", "b"]) await one.next("resumed", (told) => told.topic === topic);
    }
    one.none("gap");
    one.none("message");
  },

  async token({ guard, connect }) {
    const { issuer, server, post } = await guard();
    const tokens = [issuer.token({ lasts_s: TOKEN_S }), issuer.token()];
    const one = await connect(server.url, { tokens });
    await one.follow("a");
    await post("a", "1");
    const { code, reconnect } = await one.next("close");
    assert.deepEqual([code, reconnect], [4401, "now"]);
    await post("a", "2");
    await one.next("resumed");
    await one.messages([1, 2]);
    one.none("gap");
  },

  async gap({ serve, way, connect }) {
    const server = await serve(["retention.frames_max=2"]);
    const proxy = await way(server);
    const one = await connect(proxy.url);
    await one.follow("a");
    await server.post("a", "1");
    await one.messages([1]);
    proxy.cut({ refuse: true });
    await one.next("close");
    for (const n of [2, 3, 4, 5]) await server.post("a", `${n}`);
    proxy.mend();
    const bounds = { topic: "a", from: 2, to: 3, frames: 2, reason: "expired" };
    assert.deepEqual(await one.next("gap"), bounds);
    await one.messages([4, 5]);
    one.none("resumed");
  },

  async overlap({ serve, connect }) {
    const server = await serve();
    const one = await connect(server.url);
    for (const target of ["a/#", "a/1", "+/1"]) await one.follow(target);
    await server.post("a/2", "0");
    await server.post("a/1", "1");
    const copies = async (count) => {
      const told = [];
      while (told.length < count) told.push(await one.next("message"));
      return told.map(({ topic, pattern, data }) => `${pattern ?? "-"} ${topic} ${data}`).sort();
    };
    assert.deepEqual(await copies(4), ["+/1 a/1 1", "- a/1 1", "a/# a/1 1", "a/# a/2 0"]);
    await one.do("leave", "a/#");
    await server.post("a/1", "2");
    assert.deepEqual(await copies(2), ["+/1 a/1 2", "- a/1 2"]);
    one.none("message");
  },

  async sleep({ serve, way, connect }) {
    const server = await serve(["keepalive.heartbeat_ms=8000"]);
    const proxy = await way(server);
    const one = await connect(proxy.url, { check_timeout_ms: 3_000 });
    await one.follow("a");
    await one.do("sleep", HOUR_MS);
    await asked(server);
    await server.post("a", "1");
    await one.messages([1]);
    one.none("close");
    proxy.swallow();
    await one.do("sleep", HOUR_MS);
    // Two heartbeats are 16 s.
    const { reason } = await one.next("close", undefined, 14_000);
    assert.equal(reason, "no answer within 3000 ms");
    await server.post("a", "2");
    proxy.mend();
    await one.next("resumed");
    await one.messages([2]);
  },

  async tabs({ serve, connect }) {
    const server = await serve();
    const [one, other] = [await connect(server.url, {}, true), await connect(server.url, {}, true)];
    for (const tab of [one, other]) await tab.follow("a");
    assert.equal(await server.metric("gridcast_connections{role=\"multiplexed\"}"), 1);
    await other.do("publish", "a", 1);
    for (const tab of [one, other]) await tab.messages([1]);
    await other.end();
    await server.post("a", "2");
    await one.messages([2]);
    one.none("close");
  },
};

/** To ask whether it lives, a client ends a subscription that there is not. */
async function asked(server) {
  const until = Date.now() + 30_000;
  while (!(await server.metric("gridcast_commands_refused_total"))) {
    assert.ok(Date.now() < until, "the server was never asked");
  }
}
