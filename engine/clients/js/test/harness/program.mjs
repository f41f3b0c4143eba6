// The program that runtimes.test.mjs runs in each runtime. Uses nothing but the package and, on
// Node 20, `ws`. Must not need a package manager: the package is imported from where it was built.

import process from "node:process";
import { Client } from "../../dist/esm/index.js";

const [url, kind] = process.argv.slice(2);
const WebSocket = kind === "ws" ? (await import("ws")).default : globalThis.WebSocket;
const client = new Client(url, { WebSocket, reconnect_ms_min: 20, reconnect_ms_max: 200 });

const done = new Promise((resolve) => {
  client.subscribe("runtime", ({ data }) => {
    console.log(data);
    if (data === "second") resolve();
  });
});
client.on("resumed", ({ topic }) => {
  if (topic !== "runtime") return;
  console.log("resumed");
  void client.publish("runtime", "second");
});
client.subscribe("ready", () => {}); // follows "runtime", so that whoever publishes here knows
await done;
client.close();
console.log("closed");
