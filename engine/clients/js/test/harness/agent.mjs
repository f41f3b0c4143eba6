// A client under test inside the runtime that is tested: does what it is asked to, and tells all
// that it hears. Must not need anything but the package: it runs in browsers, Node, Deno and Bun.

const EVENTS = ["state", "open", "close", "subscribed", "resumed", "gap", "restarted", "error"];
/** Short delays: what is tested is their order, not their length. */
const QUICK = { reconnect_ms_min: 20, reconnect_ms_max: 200 };

export class Agent {
  #make;
  #tell;
  #slept_ms = 0;
  #client;
  #feeds = new Map();

  /** `make` makes a client from a URL and options, `tell` is told events. */
  constructor(make, tell) {
    this.#make = make;
    this.#tell = tell;
  }

  /** A command is a name and what it takes; answers what can be written as JSON. */
  do([name, ...given]) {
    return this[name](...given);
  }

  /** Of `tokens` each connection takes the next, and the last one for good. */
  open(url, { tokens, ...options } = {}) {
    const token = tokens && (() => (tokens.length > 1 ? tokens.shift() : tokens[0]));
    const clock = { now: () => Date.now() + this.#slept_ms };
    this.#client = this.#make(url, { ...QUICK, ...options, clock, ...(token && { token }) });
    for (const event of EVENTS) this.#client.on(event, (told) => this.#tell(event, plain(told)));
    this.#client.connect();
  }

  follow(topic, options) {
    const told = (message) => this.#tell("message", message);
    this.#feeds.set(topic, this.#client.subscribe(topic, told, options));
  }

  leave(topic) {
    this.#feeds.get(topic).close();
  }

  /** Answers when it is handed over; what becomes of it is told. */
  publish(topic, data) {
    this.#client.publish(topic, data)
      .then((done) => this.#tell("published", done))
      .catch(({ code }) => this.#tell("refused", { code }));
  }

  /** As if the computer had slept. */
  sleep(slept_ms) {
    this.#slept_ms += slept_ms;
  }

  close() {
    this.#client.close();
  }
}

/** Errors are their code: they cannot be written as JSON. */
function plain({ error, ...told }) {
  return error ? { ...told, code: error.code, text: error.message } : told;
}
