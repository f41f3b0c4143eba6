// The way to a server, which can be cut, made to swallow everything, and counted. Must not know
// what it carries.

import { connect, createServer } from "node:net";
import { once } from "node:events";
import { freePort } from "./server.mjs";

export class Proxy {
  #pairs = new Set();
  #is_swallowing = false;
  #refuses = false;
  opened = 0;

  static async to(port) {
    const proxy = new Proxy();
    proxy.server = createServer((near) => proxy.#carry(near, port));
    proxy.server.listen(freePort(), "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  #carry(near, port) {
    this.opened++;
    if (this.#refuses) return near.destroy();
    const far = connect(port, "127.0.0.1");
    const pair = [near, far];
    this.#pairs.add(pair);
    const pass = (to) => (bytes) => this.#is_swallowing || to.write(bytes);
    near.on("data", pass(far));
    far.on("data", pass(near));
    for (const end of pair) {
      end.on("error", () => {});
      end.on("close", () => this.#is_swallowing || this.#drop(pair));
    }
  }

  #drop(pair) {
    this.#pairs.delete(pair);
    pair.forEach((end) => end.destroy());
  }

  /** Ends what is carried; `refuse` ends what comes as well, until `mend`. */
  cut({ refuse = false } = {}) {
    this.#refuses = refuse;
    this.#pairs.forEach((pair) => this.#drop(pair));
  }

  /** Takes everything and passes nothing on, as a network does that is gone. */
  swallow() {
    this.#is_swallowing = true;
  }

  /** What was swallowed is gone, so that a connection that lacks it ends. */
  mend() {
    if (this.#is_swallowing) this.#pairs.forEach((pair) => this.#drop(pair));
    this.#is_swallowing = this.#refuses = false;
  }

  close() {
    this.mend();
    this.cut();
    this.server.close();
  }
}
