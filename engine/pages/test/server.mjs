// A real server and simulated PMUs: what the pages are shown. Owns the processes and timers that it
// starts, and ends them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { configuration, data } from "./frames.mjs";

const DEFAULT = fileURLToPath(new URL("../../../target/debug/gridcast", import.meta.url));
const BINARY = process.env.GRIDCAST ?? DEFAULT;
const START_MS = 30_000;

export class Server {
  static async start(settings = []) {
    if (!existsSync(BINARY)) throw new Error(`no server at ${BINARY}: name one in GRIDCAST`);
    const server = new Server();
    server.settings = settings;
    await server.run("127.0.0.1:0", "127.0.0.1:0");
    return server;
  }

  async run(listen, admin) {
    const settings = this.settings.flatMap((setting) => ["--set", setting]);
    const args = ["--listen", listen, "--cores", "1", "--set", `admin.listen=${admin}`, ...settings];
    this.child = spawn(BINARY, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.ended = once(this.child, "exit");
    const said = [];
    const timer = setTimeout(() => this.child.kill("SIGKILL"), START_MS);
    for await (const line of createInterface({ input: this.child.stderr })) {
      said.push(line);
      const found = /listening address=([\d.]+:\d+) admin=([\d.]+:\d+)/.exec(line);
      if (!found) continue;
      [, this.public, this.admin] = found;
      break;
    }
    clearTimeout(timer);
    if (!this.admin) throw new Error(`the server did not start:\n${said.join("\n")}`);
    this.child.stderr.resume();
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  async again() {
    const [listen, admin] = [this.public, this.admin];
    this.public = this.admin = undefined;
    await this.run(listen, admin);
  }

  /** Many messages at once: objects as JSON, bytes as they are. */
  async publish(messages) {
    const lines = Object.entries(messages).map(([topic, message]) => JSON.stringify(
      Buffer.isBuffer(message) ? { topic, data64: message.toString("base64") } : { topic, data: message }));
    const answer = await fetch(`http://${this.public}/v1/publish`, {
      method: "POST", headers: { "content-type": "application/x-ndjson" }, body: lines.join("\n"),
    });
    if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
  }
}

/** PMUs of two streams, one decoded and one not, with their aligned ticks and a plant. Answers a
 * function that ends them. */
export function simulate(server, { count = 24, per_s = 25, missing = [] } = {}) {
  const begun = Date.now();
  let [n, is_busy] = [0, false];
  const timer = setInterval(async () => {
    if (is_busy) return;
    is_busy = true;
    const t = (Date.now() - begun) / 1000;
    await server.publish(instant(n++, t, count, missing, per_s)).catch(() => {}); // It restarts.
    is_busy = false;
  }, 1000 / per_s);
  return () => clearInterval(timer);
}

function instant(n, t, count, missing, per_s) {
  const messages = {};
  const names = Array.from({ length: count }, (_, at) => 1001 + at);
  const out = missing.filter(({ from, to }) => t >= from && t < to).map(({ id }) => id);
  for (const id of names) if (!out.includes(id)) messages[`pmu/north/${id}/json`] = decoded(id, t);
  const hz = 50 + 0.012 * Math.sin(t / 7);
  messages["pmu/south/2001"] = data(2001, { hz, turn: Math.sin(t / 5), unix_s: Math.floor(Date.now() / 1000) });
  if (n % (2 * per_s) === 0) messages["pmu/south/2001/cfg"] = configuration(2001, "SOUTH-2001");
  messages["align/north"] = {
    group: "north", time: new Date().toISOString(), arrived: count - out.length, members: count,
    missing: out.map((id) => `pmu/north/${id}/json`), values: {},
  };
  messages["plant/1"] = {
    power: { mw: 412 + 30 * Math.sin(t / 9), mvar: 80 + 12 * Math.cos(t / 6) }, speed: 2998.5 + Math.sin(t),
  };
  return messages;
}

function decoded(id, t) {
  const shift = (id - 1001) * 2.4 - 26;
  const hz = 50 + 0.012 * Math.sin(t / 7) + 0.004 * Math.sin(t * 0.9 + id);
  const angle = shift + 9 * Math.sin(t / 11 + id);
  const phasors = ["VA", "VB", "VC", "IA", "IB", "IC"].map((name, at) => ({
    name, unit: name[0] === "V" ? "V" : "A", magnitude: (name[0] === "V" ? 230e3 : 480) * (1 + 0.01 * Math.sin(t + at)),
    angle_deg: wrapped(angle - 120 * (at % 3) - (name[0] === "I" ? 25 : 0)),
  }));
  return {
    stream: "north", id, station: `SUBSTATION-${id}`, time: new Date().toISOString(),
    stat: { bits: 0, data: "good", in_sync: id !== 1007 },
    frequency_hz: hz, rocof_hz_per_s: 0.0017 * Math.cos(t / 7) + 0.003 * Math.cos(t * 0.9 + id),
    phasors, analogs: [], digitals: [],
  };
}

const wrapped = (degrees) => degrees - 360 * Math.round(degrees / 360);
