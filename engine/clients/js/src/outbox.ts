// Publishes that wait: for a connection, then for their answer. Owns what becomes of each when
// neither comes. Must not connect.

import { GridcastError } from "./errors.js";
import type { Settings } from "./settings.js";
import type { Published } from "./types.js";

interface Waiting<C> {
  command: C;
  is_sent: boolean;
  timer: unknown;
  resolve(published: Published): void;
  reject(error: GridcastError): void;
}

/** `C` is a command as it is sent. */
export class Outbox<C> {
  /** The longest message that the server takes, where it told that. */
  declare message_bytes_max: number | undefined;
  #settings: Settings;
  #waiting = new Map<number, Waiting<C>>();
  #next_id = 1;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** `write` makes the command with this id. */
  add(write: (id: number) => C): Promise<Published> {
    const { clock, publishes_max, publish_timeout_ms } = this.#settings;
    if (this.#waiting.size >= publishes_max) throw notSent(`publishes_max: ${publishes_max} wait`);
    const id = this.#next_id++;
    const command = write(id);
    if (new TextEncoder().encode(command as string).length > this.message_bytes_max!) {
      throw notSent("too long");
    }
    return new Promise((resolve, reject) => {
      const late = () => this.#drop(id, `no answer within ${publish_timeout_ms} ms`);
      const timer = clock.setTimeout(late, publish_timeout_ms);
      this.#waiting.set(id, { command, is_sent: false, timer, resolve, reject });
    });
  }

  /** Sends what has not been sent. */
  flush(send: (command: C) => void): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.is_sent) continue;
      waiting.is_sent = true;
      send(waiting.command);
    }
  }

  /** One of them is answered. */
  take(id: number): Waiting<C> | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#settings.clock.clearTimeout(waiting?.timer);
    return waiting;
  }

  /** The connection is gone. What was sent may have been published: it is never sent twice. */
  broken(is_closed: boolean): void {
    for (const [id, { is_sent }] of this.#waiting) {
      if (is_sent || is_closed) this.#drop(id, "the connection ended");
    }
  }

  #drop(id: number, why: string): void {
    const waiting = this.take(id);
    const unsure = new GridcastError("unacknowledged", `${why}: it may have been published`);
    waiting?.reject(waiting.is_sent ? unsure : notSent(why));
  }
}

export function notSent(why: string): GridcastError {
  return new GridcastError("not_sent", `${why}: it was not published`);
}
