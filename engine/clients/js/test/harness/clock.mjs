// Clocks for clients under test: one that a test sets forward while timers run on, as when a
// computer sleeps, and one that stands still until it is moved. Must not know the client.

import { Heard } from "./heard.mjs";

/** The real time, and what was added to it. Tells of each timer that ran. */
export class SleepyClock {
  slept_ms = 0;
  heard = new Heard();

  setTimeout = (run, delay_ms) => setTimeout(() => (run(), this.heard.put("ran")), delay_ms);

  now = () => Date.now() + this.slept_ms;

  sleep(slept_ms) {
    this.slept_ms += slept_ms;
  }
}

/** Time that only the test moves. */
export class StillClock {
  time_ms = 1_000_000;
  #timers = new Map();
  #next = 1;

  now = () => this.time_ms;
  random = () => 1;
  frame = (run) => this.setTimeout(run, 16);

  setTimeout = (run, delay_ms) => {
    this.#timers.set(this.#next, { run, due_ms: this.time_ms + delay_ms });
    return this.#next++;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  /** The delays of what waits. */
  get delays() {
    return [...this.#timers.values()].map(({ due_ms }) => due_ms - this.time_ms);
  }

  pass(passed_ms) {
    const end_ms = this.time_ms + passed_ms;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.due_ms <= end_ms);
      if (!due.length) break;
      const [[timer, { run, due_ms }]] = due.sort(([, a], [, b]) => a.due_ms - b.due_ms);
      this.#timers.delete(timer);
      this.time_ms = Math.max(this.time_ms, due_ms);
      run();
    }
    this.time_ms = end_ms;
  }
}
