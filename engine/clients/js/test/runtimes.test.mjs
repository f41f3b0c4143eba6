// The same program in each runtime that is there: subscribes, publishes, is cut, resumes, ends by
// itself. Needs deno and bun, or their paths in DENO and BUN; what is missing is skipped.

import { strict as assert } from "node:assert";
import { execFile, spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Proxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";

const PROGRAM = fileURLToPath(new URL("harness/program.mjs", import.meta.url));
const RUNTIMES = {
  "node with ws": [process.execPath, []],
  deno: [process.env.DENO ?? "deno", ["run", "-A"]],
  bun: [process.env.BUN ?? "bun", []],
};

const isThere = (command) => spawnSync(command, ["--version"]).status === 0;

for (const [name, [command, args]] of Object.entries(RUNTIMES)) {
  const skip = isThere(command) ? false : `there is no ${command}`;
  test(name, { skip }, async (t) => {
    const server = await Server.start();
    t.after(() => server.kill());
    const proxy = await Proxy.to(server.port);
    t.after(() => proxy.close());
    const kind = name.endsWith("ws") ? "ws" : "global";
    const given = [...args, PROGRAM, proxy.url, kind];
    const running = promisify(execFile)(command, given, { timeout: 60_000 });
    await followed(server);
    await server.post("runtime", "first");
    // Cut before, it would come after the resume.
    await Promise.race([printed(running.child.stdout, "first"), running]);
    proxy.cut();
    const { stdout } = await running;
    assert.deepEqual(stdout.trim().split("\n"), ["first", "resumed", "second", "closed"]);
  });
}

/** Waits until a program has written `text`. */
function printed(stdout, text) {
  let seen = "";
  return new Promise((resolve) => {
    stdout.on("data", (chunk) => {
      seen += chunk;
      if (seen.includes(text)) resolve();
    });
  });
}

/** Waits until the program follows its topics. */
async function followed(server) {
  const until = Date.now() + 60_000;
  while (!(await server.post("ready", "x")).subscribers) {
    assert.ok(Date.now() < until, "the program never subscribed");
  }
}
