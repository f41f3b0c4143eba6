// Tokens that are replaced over an open connection, and such that stand in no URL, against the real
// server. Must not test how the server checks them.

import { strict as assert } from "node:assert";
import { test } from "node:test";
import WebSocket from "ws";
import { renewing } from "@gridcast/client/renew";
import { client, follow } from "./harness/clients.mjs";
import { Heard } from "./harness/heard.mjs";
import { Server } from "./harness/server.mjs";
import { Issuer } from "./harness/tokens.mjs";

// Long enough to connect on a busy machine, short enough to wait for.
const LASTS_S = 5;

async function guarded(test, more = []) {
  const issuer = new Issuer();
  const server = await Server.start([...issuer.settings(test), ...more]);
  test.after(() => server.kill());
  const post = (topic, body) => server.post(topic, body, {
    "content-type": "text/plain", authorization: `Bearer ${issuer.token()}`,
  });
  return { issuer, server, post };
}

test("a token is replaced before it ends, and the connection stays", async (t) => {
  const { issuer, server, post } = await guarded(t);
  let asked = 0;
  let told;
  const third = new Promise((resolve) => (told = resolve));
  const token = async () => {
    if (++asked === 3) told();
    return issuer.token({ lasts_s: LASTS_S });
  };
  const one = client(t, Heard, server.url, renewing(token, { WebSocket }));
  const feed = await follow(one, Heard, "a");
  await third; // the first token has ended by now
  await post("a", "1");
  assert.deepEqual(await feed.data(1), [1]);
  one.heard.none("close");
});

test("the token may be the first message, and stands in no URL", async (t) => {
  const { issuer, server, post } = await guarded(t, ["auth.first_message_ms=10000"]);
  const urls = [];
  class Noting extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      urls.push(url);
    }
  }
  const options = renewing(() => issuer.token(), { WebSocket: Noting, first_message: true });
  const one = client(t, Heard, server.url, options);
  const feed = await follow(one, Heard, "a");
  await post("a", "1");
  assert.deepEqual(await feed.data(1), [1]);
  assert.equal(urls.length, 1);
  assert.ok(!urls[0].includes("token"), urls[0]);
});

test("where none can be had, the connection ends and another asks again", async (t) => {
  const { issuer, server, post } = await guarded(t);
  let [asked, has_ended] = [0, false];
  const token = async () => {
    if (asked++ === 0) return issuer.token({ lasts_s: 4 });
    if (!has_ended) throw new Error("the identity provider is away");
    return issuer.token();
  };
  const one = client(t, Heard, server.url, renewing(token, { WebSocket }));
  one.on("close", () => (has_ended = true));
  const feed = await follow(one, Heard, "a");
  const { code, reconnect } = await one.heard.next("close");
  assert.deepEqual([code, reconnect], [4401, "now"]);
  await one.heard.next("resumed");
  await post("a", "1");
  assert.deepEqual(await feed.data(1), [1]);
});
