// How long to wait before the next attempt: full jitter below a bound that doubles. Must not wait.

import type { Settings } from "./settings.js";
import type { Reconnect } from "./types.js";

export class Backoff {
  #settings: Settings;
  #attempts = 0;
  #opened_at = Infinity;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  opened(): void {
    this.#opened_at = this.#settings.clock.now();
  }

  /** A server's own delay wins. `now` is granted once, then not until a connection has lasted:
   * one that ends as soon as it is open must not be opened in a loop. */
  next(when: Reconnect, told_ms?: number): number {
    const { clock, reconnect_ms_min, reconnect_ms_max, stable_after_ms } = this.#settings;
    if (clock.now() - this.#opened_at >= stable_after_ms) this.#attempts = 0;
    this.#opened_at = Infinity;
    const attempts = this.#attempts++;
    const bound_ms = Math.min(reconnect_ms_max, reconnect_ms_min * 2 ** attempts);
    const granted_ms = when === "now" && !attempts ? 0 : clock.random() * bound_ms;
    return Math.round(told_ms ?? granted_ms);
  }
}
