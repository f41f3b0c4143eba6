// The table of behaviours, each row in each runtime that is there. Writes what held, a line for
// each cell, to the file of the variable TABLE. RUNTIMES names some of them, with commas between.

import { strict as assert } from "node:assert";
import { appendFileSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { Proxy } from "./harness/proxy.mjs";
import { RUNTIMES } from "./harness/runtimes.mjs";
import { Server } from "./harness/server.mjs";
import { Issuer } from "./harness/tokens.mjs";
import { ROWS } from "./table/rows.mjs";

const TABLE = JSON.parse(readFileSync(new URL("../../behaviours.json", import.meta.url), "utf8"));
const wanted = process.env.RUNTIMES?.split(",") ?? RUNTIMES.map(({ name }) => name);

test("each row of the table has its program, and there is no other", () => {
  assert.deepEqual(Object.keys(ROWS), TABLE.rows.map(({ name }) => name));
  assert.deepEqual(RUNTIMES.map(({ name }) => name), TABLE.runtimes);
});

for (const runtime of RUNTIMES.filter(({ name }) => wanted.includes(name))) {
  const { lack } = runtime;
  describe(runtime.name, { skip: lack }, () => {
    before(() => runtime.start());
    after(() => runtime.stop());
    for (const row of TABLE.rows) {
      const lacks = row.needs && !runtime[row.needs] && `${runtime.name} has no ${row.needs}`;
      if (lacks) note(runtime, row, "n/a", lacks);
      test(row.name, { skip: lacks }, (t) => held(t, runtime, row));
    }
  });
  if (lack) for (const row of TABLE.rows) note(runtime, row, "absent", lack);
}

async function held(test, runtime, row) {
  const stage = new Stage(test, runtime);
  try {
    await ROWS[row.name](stage);
    for (const agent of stage.agents) await agent.end();
    note(runtime, row, "pass");
  } catch (error) {
    note(runtime, row, "FAIL", error.message.split("\n")[0]);
    throw error;
  }
}

function note({ name, version }, row, result, reason = "") {
  if (!process.env.TABLE) return;
  const cell = { row: row.name, column: name, version, result, reason };
  appendFileSync(process.env.TABLE, `${JSON.stringify(cell)}\n`);
}

/** What a row is given: servers, ways to them, and clients in the runtime. */
class Stage {
  agents = new Set();

  constructor(test, runtime) {
    this.test = test;
    this.runtime = runtime;
  }

  serve = async (settings = []) => {
    const server = await Server.start(settings);
    this.test.after(() => server.kill());
    return server;
  };

  way = async (server) => {
    const proxy = await Proxy.to(server.port);
    this.test.after(() => proxy.close());
    return proxy;
  };

  /** A server that asks for tokens. */
  guard = async () => {
    const issuer = new Issuer();
    const server = await this.serve(issuer.settings(this.test));
    const post = (topic, body) => server.post(topic, body, {
      "content-type": "text/plain", authorization: `Bearer ${issuer.token()}`,
    });
    return { issuer, server, post };
  };

  connect = async (url, options = {}, is_shared = false) => {
    const agent = await this.runtime.agent(this.test, { is_shared });
    this.agents.add(agent);
    await agent.do("open", url, options);
    const end = () => (this.agents.delete(agent), agent.end());
    return new Told(agent, end);
  };
}

/** An agent, and what a row asks of it. */
class Told {
  #agent;

  constructor(agent, end) {
    this.#agent = agent;
    this.end = end;
    this.do = (...command) => agent.do(...command);
    this.next = (...wanted) => agent.heard.next(...wanted);
    this.forget = () => agent.heard.forget();
    this.none = (event) => agent.heard.none(event);
  }

  async follow(topic) {
    await this.do("follow", topic);
    await this.next("subscribed", (told) => told.topic === topic);
  }

  async messages(expected) {
    assert.deepEqual(await this.#agent.heard.data(expected.length), expected);
  }
}
