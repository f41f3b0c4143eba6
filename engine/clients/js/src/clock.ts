// Time, timers, chance and animation frames, so that a test can hold all of them in its hand.
// Nothing else in this package may read them.

export interface Clock {
  /** Milliseconds of the wall clock: it goes on while a computer sleeps, others do not. */
  now(): number;
  setTimeout(run: () => void, delay_ms: number): unknown;
  clearTimeout(timer: any): void;
  /** From 0 to 1. */
  random(): number;
  /** Runs at the next animation frame, or soon where there is none; perhaps twice. */
  frame(run: () => void): void;
}

export function clockOf(given: Partial<Clock> = {}): Clock {
  const clock: Clock = {
    now: Date.now,
    setTimeout: (run, delay_ms) => setTimeout(run, delay_ms),
    clearTimeout: (timer) => clearTimeout(timer),
    random: Math.random,
    frame: (run) => frame(clock, run),
  };
  return Object.assign(clock, given);
}

// A hidden page has no animation frames, so a timer runs beside. Running twice does no harm.
function frame(clock: Clock, run: () => void): void {
  const has_frames = typeof requestAnimationFrame === "function";
  const timer = clock.setTimeout(run, has_frames ? HIDDEN_FRAME_MS : FRAME_MS);
  if (has_frames) requestAnimationFrame(() => (clock.clearTimeout(timer), run()));
}

const FRAME_MS = 16;
const HIDDEN_FRAME_MS = 250;
