// The agent as a program: a command a line in, an answer or an event a line out. Ends when its
// client is closed and nothing more is said to it. Must not know a runtime from another.

import process from "node:process";
import { createInterface } from "node:readline";
import { Client } from "../../dist/esm/index.js";
import { Agent } from "./agent.mjs";

const write = (said) => console.log(JSON.stringify(said));
// Node 20 has none of its own.
const WebSocket = globalThis.WebSocket ?? (await import("ws")).default;
const make = (url, options) => new Client(url, { ...options, WebSocket });
const agent = new Agent(make, (event, told) => write({ event, told }));

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command } = JSON.parse(line);
  write({ id, value: agent.do(command) });
}
