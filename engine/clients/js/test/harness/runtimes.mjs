// The runtimes in which the table is tried: where each is, and an agent in it, as a program or in a
// page. Owns the programs that it starts. Must not know what is tested.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Heard, within } from "./heard.mjs";
import { BROWSERS, Browser } from "./pages.mjs";

const PROGRAM = fileURLToPath(new URL("agent-lines.mjs", import.meta.url));

/** The Node that runs the tests, where it is of this version; else that of a variable. */
function node(major) {
  const is_this = process.versions.node.startsWith(`${major}.`);
  return process.env[`NODE_${major}`] ?? (is_this ? process.execPath : `node${major}`);
}

class Programs {
  tabs = false;

  constructor(name, command, args = []) {
    Object.assign(this, { name, command, args });
  }

  /** Why it cannot be tried. */
  get lack() {
    const done = spawnSync(this.command, ["--version"], { encoding: "utf8" });
    this.version = done.status === 0 ? /\d+[.\d]*/.exec(done.stdout)[0] : undefined;
    return this.version ? undefined : `there is no ${this.command}`;
  }

  async start() {}
  async stop() {}

  async agent(test) {
    const agent = new ProgramAgent(spawn(this.command, [...this.args, PROGRAM]));
    test.after(() => agent.child.kill("SIGKILL"));
    return agent;
  }
}

class ProgramAgent {
  heard = new Heard();
  #answers = new Map();
  #next = 1;

  constructor(child) {
    this.child = child;
    this.ended = once(child, "exit");
    child.stderr.on("data", (said) => this.heard.put("said", `${said}`));
    createInterface({ input: child.stdout }).on("line", (line) => this.#hear(JSON.parse(line)));
  }

  #hear({ id, value, event, told }) {
    if (event) return this.heard.put(event, told);
    this.#answers.get(id)(value);
    this.#answers.delete(id);
  }

  do(...command) {
    const id = this.#next++;
    const answered = new Promise((resolve) => this.#answers.set(id, resolve));
    this.child.stdin.write(`${JSON.stringify({ id, command })}\n`);
    return within(answered, { toString: () => `${command[0]}, with ${this.heard.summary()}` });
  }

  /** Closes its client: nothing else may keep a program alive. */
  async end() {
    await this.do("close");
    this.child.stdin.end();
    const [code] = await within(this.ended, "the program to end by itself");
    if (code !== 0) throw new Error(`exit ${code}: ${this.heard.summary()}`);
  }
}

class Pages {
  tabs = true;

  constructor(kind) {
    Object.assign(this, { kind, name: kind.name });
  }

  get lack() {
    return this.kind.lack;
  }

  async start() {
    this.browser = await Browser.start(this.kind);
    this.version = /\d+[.\d]*/.exec(await this.browser.driven.version())[0];
  }

  async stop() {
    await this.browser?.stop();
  }

  async agent(test, { is_shared = false } = {}) {
    const agent = new PageAgent();
    agent.tab = await this.browser.tab(test, () => {});
    await agent.tab.exposeFunction("hear", (event, told) => agent.heard.put(event, told));
    await agent.tab.evaluate(begin, is_shared);
    return agent;
  }
}

/** Runs in the page. */
async function begin(is_shared) {
  const { Agent } = await import("/test/harness/agent.mjs");
  const { Client } = await import("/dist/gridcast.min.js");
  const { sharedClient } = await import("/dist/esm/worker.js");
  const script = "/dist/shared-worker.js";
  const shared = (url, { clock, ...options }) => sharedClient(url, { script, ...options });
  const alone = (url, options) => new Client(url, options);
  window.agent = new Agent(is_shared ? shared : alone, (event, told) => window.hear(event, told));
}

class PageAgent {
  heard = new Heard();

  do(...command) {
    return this.tab.evaluate((command) => window.agent.do(command), command);
  }

  async end() {
    await this.do("close");
    await this.tab.close();
  }
}

export const RUNTIMES = [
  new Programs("Node 20", node(20)),
  new Programs("Node 24", node(24)),
  new Programs("Deno", process.env.DENO ?? "deno", ["run", "-A"]),
  new Programs("Bun", process.env.BUN ?? "bun"),
  ...BROWSERS.map((kind) => new Pages(kind)),
];
