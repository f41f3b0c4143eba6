// Clients for a test, ended with it. Must not hold a test of its own.

import WebSocket from "ws";
import { Client } from "@gridcast/client";

const CLIENT_EVENTS = [
  "state", "open", "close", "subscribed", "resumed", "gap", "restarted", "error",
];

/** Short delays: what is tested is their order, not their length. */
export const QUICK = { WebSocket, reconnect_ms_min: 20, reconnect_ms_max: 200 };

/** A client whose events are heard. */
export function client(test, Heard, url, options = {}) {
  const made = new Client(url, { ...QUICK, ...options });
  test.after(() => made.close());
  return Object.assign(made, { heard: Heard.to(made, ...CLIENT_EVENTS) });
}

/** Follows a topic; answers the subscription and what it hears. */
export async function follow(client, Heard, topic, options) {
  const heard = new Heard();
  const feed = client.subscribe(topic, heard.handler, options);
  await client.heard.next("subscribed", (told) => told.topic === topic);
  return Object.assign(heard, { feed });
}
