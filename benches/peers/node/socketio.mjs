// A broadcast server as one would write it with Socket.IO: a room per topic, joined by an event that
// is acknowledged, and frames emitted to it under its name. For scripts/measure-peers; no part of
// gridcast.
//
// Usage: node socketio.mjs PORT | --version

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Server } from "socket.io";

const [argument] = process.argv.slice(2);
if (argument === "--version") {
  const own = createRequire(import.meta.url).resolve("socket.io/package.json");
  console.log(`Socket.IO ${JSON.parse(readFileSync(own)).version}, Node ${process.versions.node}`);
  process.exit(0);
}

// Without long polling, which costs a request more for each client, and without compression, as it is
// by default.
const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  socket.on("subscribe", (topic, done) => {
    socket.join(topic);
    done?.();
  });
  socket.on("publish", (topic, payload) => io.to(topic).emit(topic, payload));
});
http.listen({ host: "127.0.0.1", port: Number(argument), backlog: 4096 });
