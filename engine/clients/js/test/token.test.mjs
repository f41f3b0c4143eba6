// Tokens: asked for at each connect, replaced when they expire, and what happens where nobody has
// one. Must not test how the server checks them.

import { strict as assert } from "node:assert";
import { test } from "node:test";
import { client, follow } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Server } from "./harness/server.mjs";
import { Issuer } from "./harness/tokens.mjs";

// Long enough to connect on a busy machine, short enough to wait for.
const LASTS_S = 4;

async function guarded(test) {
  const issuer = new Issuer();
  const server = await Server.start(issuer.settings(test));
  test.after(() => server.kill());
  const post = (topic, body) => server.post(topic, body, {
    "content-type": "text/plain", authorization: `Bearer ${issuer.token()}`,
  });
  return { issuer, server, post };
}

test("a token that expires is replaced by the callback, and nothing is missed", async (t) => {
  const { issuer, server, post } = await guarded(t);
  let asked = 0;
  const token = async () => issuer.token({ lasts_s: asked++ ? 600 : LASTS_S });
  const one = client(t, Heard, server.url, { token });
  const feed = await follow(one, Heard, "a");
  await post("a", "1");
  const { code, reconnect } = await one.heard.next("close");
  assert.deepEqual([code, reconnect], [4401, "now"]);
  await post("a", "2");
  await one.heard.next("resumed");
  assert.deepEqual(await feed.data(2), [1, 2]);
  assert.equal(asked, 2);
  one.heard.none("gap");
});

test("a fixed token that expires ends it", async (t) => {
  const { issuer, server } = await guarded(t);
  const one = client(t, Heard, server.url, { token: issuer.token({ lasts_s: LASTS_S }) });
  await follow(one, Heard, "a");
  const { code, reconnect } = await one.heard.next("close");
  assert.deepEqual([code, reconnect, one.state], [4401, "no", "closed"]);
});

test("a callback that fails is told and asked again", async (t) => {
  const { issuer, server } = await guarded(t);
  let asked = 0;
  const token = () => {
    if (asked++ < 2) throw new Error("the identity provider is away");
    return issuer.token();
  };
  const one = client(t, Heard, server.url, { token });
  one.connect();
  const { error } = await one.heard.next("error");
  assert.equal(error.code, "not_connected");
  assert.match(error.message, /identity provider is away/);
  await one.heard.next("open");
  assert.equal(asked, 3);
});

test("a topic that the token does not cover is asked for with the next", async (t) => {
  const { issuer, server, post } = await guarded(t);
  let rights = ["b"];
  const lasting = () => (rights[0] === "b" ? LASTS_S : 600);
  const token = () => issuer.token({ subscribe: rights, lasts_s: lasting() });
  const one = client(t, Heard, server.url, { token });
  const heard = new Heard();
  const feed = one.subscribe("a", heard.handler);
  const { error, topic, retry } = await one.heard.next("error");
  assert.deepEqual([error.code, topic, retry], ["forbidden", "a", "next_connection"]);
  assert.equal(feed.state, "failed");
  rights = ["a"];
  await one.heard.next("subscribed");
  await post("a", "1");
  assert.deepEqual(await heard.data(1), [1]);
});

test("close() while the token is awaited leaves nothing open", async (t) => {
  const { server } = await guarded(t);
  let answer;
  const token = () => new Promise((resolve) => (answer = resolve));
  const one = client(t, Heard, server.url, { token });
  one.connect();
  one.close();
  answer("late");
  await new Promise(setImmediate);
  assert.equal(one.state, "closed");
  one.heard.none("close");
});
