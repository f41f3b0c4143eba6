// What every JavaScript WebSocket client is asked to do, in Node and in a browser: the checks, and
// nothing of any one client. scenario.py asks the same of Python's.
//
// A client is { name, version, open(path, { protocols, deflate }), post(topic, text) }; what it
// opens has next(), send(data), close(code, reason), protocol, extensions and, where the client can
// send one, ping(text). next() answers { text }, { bytes } or { close: [code, reason] }.

export const CHECKS = {
  "text and binary": async (client, topic) => {
    const [from, to] = await pair(client, topic);
    const large = Uint8Array.from({ length: 70_000 }, (_, i) => i % 251);
    for (const sent of ["grüße 🙂", Uint8Array.of(0, 255, 1), large, ""]) {
      from.send(sent);
      const got = await to.next();
      equal(typeof sent === "string" ? got.text : plain(got.bytes), plain(sent));
    }
  },

  "close by the client": async (client, topic) => {
    const socket = await client.open(feed(topic));
    socket.close(1000, "bye");
    equal((await socket.next()).close?.[0], 1000);
  },

  "close by the engine": async (client, topic) => {
    const socket = await client.open(feed(topic));
    socket.send("a subscriber has nothing to say");
    const { close } = await socket.next();
    equal(close?.[0], 1003);
    holds(close[1].includes("/v1/publish/"), `reason: ${close[1]}`);
  },

  "ping": async (client, topic) => {
    const socket = await client.open(feed(topic));
    if (!socket.ping) return "this client cannot send one";
    equal(await socket.ping("there?"), "there?");
  },

  "answers pings": async (client, topic) => {
    const socket = await client.open(feed(topic));
    await new Promise((resolve) => setTimeout(resolve, 2 * IDLE_TIMEOUT_MS));
    await client.post(topic, "still here");
    equal((await socket.next()).text, "still here");
  },

  "resume": async (client, topic) => {
    const { epoch, seq } = await client.post(topic, "1");
    await client.post(topic, "2");
    await client.post(topic, "3");
    const resumed = await client.open(`${feed(topic)}?from=${epoch}-${seq}`);
    equal([(await resumed.next()).text, (await resumed.next()).text], ["2", "3"]);
    const last = await client.open(`${feed(topic)}?from=last`);
    equal((await last.next()).text, "3");
  },

  "refused option": async (client, topic) => {
    const opened = await client.open(`${feed(topic)}?from=never`).catch(() => null);
    holds(opened === null, "the handshake succeeded");
  },

  "multiplexed json": async (client, topic) => {
    const socket = await client.open("/v1/ws", { protocols: ["gridcast.v1.json"] });
    equal(socket.protocol, "gridcast.v1.json");
    const ask = (command) => socket.send(JSON.stringify(command));
    ask({ id: 1, subscribe: { topic } });
    const { subscribed } = await nextJson(socket);
    equal(subscribed.topic, topic);
    ask({ id: 2, publish: { topic, data: { a: 1 } } });
    const told = [await nextJson(socket), await nextJson(socket)];
    const published = told.find((one) => one.published);
    equal([published.id, published.published.epoch], [2, subscribed.epoch]);
    const seq = published.published.seq;
    equal(told.find((one) => one.data), { topic, seq, data: { a: 1 } });
    ask({ publish: { topic, data64: "AP8B" } });
    equal(await nextJson(socket), { topic, seq: seq + 1, data64: "AP8B" });
    await client.post(topic, "plain");
    equal(await nextJson(socket), { topic, seq: seq + 2, data: "plain", text: true });
    ask({ id: 3, subscribe: { topic: "a//b" } });
    const refused = await nextJson(socket);
    equal([refused.id, typeof refused.error.message], [3, "string"]);
    ask({ id: 4, unsubscribe: { topic } });
    equal(await nextJson(socket), { id: 4, unsubscribed: { topic } });
  },

  "multiplexed bin": async (client, topic) => {
    const socket = await client.open("/v1/ws", { protocols: ["gridcast.v1.bin"] });
    equal(socket.protocol, "gridcast.v1.bin");
    socket.send(JSON.stringify({ id: 1, subscribe: { topic } }));
    const { subscribed } = await nextJson(socket);
    const { seq } = await client.post(topic, "hello");
    const { bytes } = await socket.next();
    const [number, afterFeed] = varint(bytes, 0);
    const [at, afterSeq] = varint(bytes, afterFeed);
    equal([number, at, bytes[afterSeq]], [subscribed.feed, seq, 1]);
    equal(new TextDecoder().decode(bytes.subarray(afterSeq + 1)), "hello");
  },

  "deflate": async (client, topic) => {
    const to = await client.open(feed(topic), { deflate: true });
    const from = await client.open(`/v1/publish/${topic}`, { deflate: true });
    for (const { extensions } of [to, from]) {
      holds(extensions.includes("permessage-deflate"), `extensions: ${extensions}`);
    }
    for (const n of [1, 2, 3]) {
      const text = JSON.stringify(Array(500).fill({ n, station: "grüße" }));
      from.send(text);
      equal((await to.next()).text, text);
    }
  },
};

// Runs the checks named; answers one row for each.
export async function run(client, names) {
  const rows = [];
  for (const [at, check] of names.filter((name) => CHECKS[name]).entries()) {
    rows.push(await judged(client, check, () => CHECKS[check](client, `${client.name}/${at}`)));
  }
  return rows;
}

// The row of one check: `note` says why it failed, or what it could not ask.
export async function judged(client, check, ask) {
  const row = { client: client.name, version: client.version, check };
  try {
    return { ...row, ok: true, note: (await within(ask())) ?? "" };
  } catch (error) {
    return { ...row, ok: false, note: String(error?.message ?? error).split("\n")[0].slice(0, 200) };
  }
}

// The messages of a socket in their order, for clients that tell of them by events.
export class Inbox {
  #told = [];
  #waiting = [];

  put(told) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(told);
    else this.#told.push(told);
  }

  next() {
    if (this.#told.length) return Promise.resolve(this.#told.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

// A socket with the interface that browsers have.
export function openStandard(WebSocket, url, protocols) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols);
    const inbox = new Inbox();
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) =>
      inbox.put(typeof data === "string" ? { text: data } : { bytes: new Uint8Array(data) });
    socket.onerror = () => reject(new Error(`no connection to ${url}`));
    socket.onclose = ({ code, reason }) => inbox.put({ close: [code, reason] });
    socket.onopen = () => resolve({
      next: () => inbox.next(),
      send: (data) => socket.send(data),
      close: (code, reason) => socket.close(code, reason),
      protocol: socket.protocol,
      extensions: socket.extensions,
    });
  });
}

export function equal(got, wanted) {
  const [left, right] = [got, wanted].map((value) => JSON.stringify(value));
  holds(left === right, `${left?.slice(0, 80)} instead of ${right?.slice(0, 80)}`);
}

export function holds(condition, message) {
  if (!condition) throw new Error(message);
}

export function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const feed = (topic) => `/v1/feed/${topic}`;

async function pair(client, topic) {
  const to = await client.open(feed(topic));
  return [await client.open(`/v1/publish/${topic}`), to];
}

async function nextJson(socket) {
  return JSON.parse((await socket.next()).text);
}

function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7, at += 1) {
    value += (bytes[at] & 0x7f) * 2 ** shift;
    if (bytes[at] < 0x80) return [value, at + 1];
  }
}

const plain = (data) => (typeof data === "string" ? data : Array.from(data ?? []));

// The engine is started with this (scripts/clients).
const IDLE_TIMEOUT_MS = 1000;
const PATIENCE_MS = 15_000;
