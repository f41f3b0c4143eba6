// What was told, in its order, and waiting for what is to come, with a deadline. Must not know who
// tells.

import { strict as assert } from "node:assert";

const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 30_000);

export class Heard {
  #told = [];
  #waiting = [];

  /** Listens to these events of a client or a subscription. */
  static to(source, ...events) {
    const heard = new Heard();
    for (const event of events) source.on(event, (told) => heard.put(event, told));
    return heard;
  }

  put(event, told) {
    this.#told.push({ event, told });
    this.#waiting.splice(0).forEach((look) => look());
  }

  /** As a handler of messages. */
  get handler() {
    return (message) => this.put("message", message);
  }

  /** The next of this event that nobody asked for yet; others stay. */
  async next(event, matches = () => true, patience_ms = PATIENCE_MS) {
    const found = (entry) => entry.event === event && matches(entry.told);
    const wanted = (async () => {
      for (;;) {
        const at = this.#told.findIndex(found);
        if (at >= 0) return this.#told.splice(at, 1)[0].told;
        await new Promise((look) => this.#waiting.push(look));
      }
    })();
    const what = { toString: () => `"${event}" among ${this.summary()}` };
    return within(wanted, what, patience_ms);
  }

  /** The data of the next messages. */
  async data(count) {
    const data = [];
    while (data.length < count) data.push((await this.next("message")).data);
    return data;
  }

  /** What was told until now is of no interest. */
  forget() {
    this.#told = [];
  }

  /** None of this event was told, and is not asked for. */
  none(event) {
    const told = this.#told.filter((entry) => entry.event === event);
    assert.deepEqual(told, [], `no "${event}"`);
  }

  summary() {
    return JSON.stringify(this.#told.slice(-20));
  }
}

/** `what` is named when it does not come, as it stands then. */
export function within(promise, what, patience_ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    const give = () => reject(new Error(`waited ${patience_ms} ms for ${what}`));
    timer = setTimeout(give, patience_ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
