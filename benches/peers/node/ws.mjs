// A broadcast server as one would write it with `ws`: a set of sockets per topic, each sent the same
// buffer. For scripts/measure-peers; no part of gridcast.
//
// Usage: node ws.mjs PORT | --version

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";

const [argument] = process.argv.slice(2);
if (argument === "--version") {
  const own = createRequire(import.meta.url).resolve("ws/package.json");
  console.log(`ws ${JSON.parse(readFileSync(own)).version}, Node ${process.versions.node}`);
  process.exit(0);
}

// By topic, and by the prefix of a pattern that ends in `#`.
const topics = new Map();
const prefixes = new Map();

function members(of, name) {
  let set = of.get(name);
  if (set === undefined) of.set(name, (set = new Set()));
  return set;
}

function subscribe(socket, topic) {
  const isPattern = topic.endsWith("#");
  const set = isPattern ? members(prefixes, topic.slice(0, -1)) : members(topics, topic);
  set.add(socket);
  socket.on("close", () => set.delete(socket));
}

function publish(topic, data, binary) {
  for (const socket of topics.get(topic) ?? []) socket.send(data, { binary });
  for (const [prefix, sockets] of prefixes) {
    if (topic.startsWith(prefix)) for (const socket of sockets) socket.send(data, { binary });
  }
}

// Off, as it is by default: compression would be per socket.
const server = new WebSocketServer({
  host: "127.0.0.1", port: Number(argument), backlog: 4096, perMessageDeflate: false,
});
server.on("connection", (socket, request) => {
  const path = decodeURIComponent(request.url);
  if (path.startsWith("/publish/")) {
    const topic = path.slice("/publish/".length);
    socket.on("message", (data, binary) => publish(topic, data, binary));
  } else if (path.startsWith("/subscribe/")) {
    subscribe(socket, path.slice("/subscribe/".length));
  } else {
    socket.close(1008, "no such path");
  }
});
