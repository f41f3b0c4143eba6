// Whether the other end of a connection lives, by what comes from it. Must not end the connection:
// it says that it is dead.

import type { Settings } from "./settings.js";

export class Pulse {
  #settings: Settings;
  #heartbeat_ms: number;
  #ask: () => void;
  #dead: (reason: string) => void;
  #heard_at: number;
  #timer: unknown;
  #probe: unknown;

  /** `ask` asks for something that is answered. */
  constructor(
    settings: Settings, heartbeat_ms: number, ask: () => void, dead: (reason: string) => void,
  ) {
    this.#settings = settings;
    this.#heartbeat_ms = heartbeat_ms;
    this.#ask = ask;
    this.#dead = dead;
    this.#heard_at = settings.clock.now();
    this.#wait();
  }

  /** Something came. */
  heard(): void {
    const { clock } = this.#settings;
    this.#heard_at = clock.now();
    if (this.#probe) clock.clearTimeout(this.#probe);
    this.#probe = 0;
  }

  /** Asks, and takes silence for death much sooner than otherwise. */
  check(): void {
    if (this.#probe) return;
    const { clock, check_timeout_ms } = this.#settings;
    const late = () => this.#dead(`no answer within ${check_timeout_ms} ms`);
    this.#probe = clock.setTimeout(late, check_timeout_ms);
    this.#ask();
  }

  stop(): void {
    this.heard();
    this.#settings.clock.clearTimeout(this.#timer);
  }

  #wait(): void {
    const { clock } = this.#settings;
    const tick_ms = Math.min(this.#heartbeat_ms / 2, TICK_MS_MAX);
    const due_at = clock.now() + tick_ms;
    this.#timer = clock.setTimeout(() => this.#tick(due_at), tick_ms);
  }

  // A tick far from its time means that the computer slept, or that timers or the clock were moved:
  // the silence then says nothing about the server, so it is asked.
  #tick(due_at: number): void {
    const now = this.#settings.clock.now();
    const silent_ms = now - this.#heard_at;
    this.#wait();
    if (Math.abs(now - due_at) > this.#heartbeat_ms) {
      this.#heard_at = now;
      this.check();
    } else if (silent_ms >= 2 * this.#heartbeat_ms) {
      this.#dead(`nothing came for ${silent_ms} ms`);
    }
  }
}

// How soon after waking a computer the sleep is noticed, where nothing else tells.
const TICK_MS_MAX = 4_000;
