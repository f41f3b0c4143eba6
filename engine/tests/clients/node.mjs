// The clients of Node: `ws`, and the standard WebSocket of `undici`. Prints a row for each check.
// Usage: CLIENTS_HOME=… node node.mjs ws|undici ENGINE CHECKS, where CHECKS is a JSON array.
import { createRequire } from "node:module";
import { Inbox, openStandard, run } from "./scenario.mjs";

const [, , name, engine, checks] = process.argv;
const require = createRequire(`${process.env.CLIENTS_HOME}/package.json`);
const { version } = require(`${name}/package.json`);

async function post(topic, text) {
  const answer = await fetch(`${engine}/v1/publish/${topic}`, {
    method: "POST", body: text, headers: { "content-type": "text/plain" },
  });
  return answer.json();
}

const socketUrl = (path) => engine.replace("http", "ws") + path;

const clients = {
  ws: {
    open: (path, { protocols = [], deflate = false } = {}) => new Promise((resolve, reject) => {
      const WebSocket = require("ws");
      const socket = new WebSocket(socketUrl(path), protocols, { perMessageDeflate: deflate });
      const inbox = new Inbox();
      socket.on("message", (data, isBinary) =>
        inbox.put(isBinary ? { bytes: new Uint8Array(data) } : { text: data.toString() }));
      socket.on("close", (code, reason) => inbox.put({ close: [code, reason.toString()] }));
      socket.on("error", reject);
      socket.on("open", () => resolve({
        next: () => inbox.next(),
        send: (data) => socket.send(data),
        close: (code, reason) => socket.close(code, reason),
        ping: (text) => new Promise((ponged) => {
          socket.once("pong", (data) => ponged(data.toString()));
          socket.ping(text);
        }),
        protocol: socket.protocol,
        extensions: socket.extensions,
      }));
    }),
  },
  undici: {
    open: (path, { protocols = [] } = {}) =>
      openStandard(require("undici").WebSocket, socketUrl(path), protocols),
  },
};

const rows = await run({ name, version, post, ...clients[name] }, JSON.parse(checks));
rows.forEach((row) => console.log(JSON.stringify(row)));
process.exit(0);
