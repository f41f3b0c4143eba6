// A real server as a process: started, stopped, killed, stalled, started again at the same port.
// Owns nothing but the processes that it started. Must not know the client.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { within } from "./heard.mjs";

const DEFAULT = fileURLToPath(new URL("../../../../../target/debug/gridcast", import.meta.url));
export const BINARY = process.env.GRIDCAST ?? DEFAULT;
if (!existsSync(BINARY)) {
  throw new Error(`no server at ${BINARY}: build it, or name one in the variable GRIDCAST`);
}
const started = new Set();

// A test that fails leaves nothing behind.
process.on("exit", () => started.forEach((child) => child.kill("SIGKILL")));

export class Server {
  /** Settings as of `--set`. Answers a server that listens. */
  static async start(settings = [], { port = 0, files = [] } = {}) {
    const server = new Server();
    server.settings = settings;
    server.files = files;
    await server.#run(port || freePort());
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async #run(port) {
    const settings = this.settings.flatMap((setting) => ["--set", setting]);
    const args = ["--listen", `127.0.0.1:${port}`, "--cores", "1", ...settings];
    const child = spawn(BINARY, [...args, ...this.files], { stdio: ["ignore", "ignore", "pipe"] });
    started.add(child);
    this.child = child;
    this.ended = once(child, "exit").then(() => started.delete(child));
    this.port = await within(listening(child), `${BINARY} to listen`);
  }

  /** Drains, as a deployment does. */
  terminate() {
    this.child.kill("SIGTERM");
    return within(this.ended, "the server to end", 20_000);
  }

  kill() {
    this.child.kill("SIGKILL");
    return within(this.ended, "the server to die");
  }

  stall() {
    this.child.kill("SIGSTOP");
  }

  goOn() {
    this.child.kill("SIGCONT");
  }

  /** The same settings at the same port, in another life. */
  startAgain() {
    return this.#run(this.port);
  }

  async post(topic, body, headers = { "content-type": "text/plain" }) {
    const url = `${this.url}/v1/publish/${topic}`;
    const answer = await fetch(url, { method: "POST", body, headers });
    if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** The sum of a metric over its labels. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith(name));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }
}

async function listening(child) {
  const said = [];
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    const found = /listening address=[\d.]+:(\d+)/.exec(line);
    if (found) {
      child.stderr.resume();
      return Number(found[1]);
    }
  }
  throw new Error(`the server ended: ${said.join("\n")}`);
}

// Each test process begins at another place, so that an end of the last one is in nobody's way.
let next_port = 23_000 + (process.pid * 7) % 900;

export function freePort() {
  return next_port++;
}
