// The options of a client, checked and completed: default and range of each duration and bound.
// Must not use any of them.

import { type Clock, clockOf } from "./clock.js";
import { GridcastError } from "./errors.js";
import type { ClientOptions, Knobs } from "./types.js";

export interface Settings extends Omit<ClientOptions, keyof Knobs | "clock">, Knobs { clock: Clock }

// name: [default, least, most]
const KNOBS: { [K in keyof Knobs]: [number, number, number] } = {
  connect_timeout_ms: [10_000, 100, 600_000],
  reconnect_ms_min: [500, 1, 600_000],
  reconnect_ms_max: [20_000, 1, 3_600_000],
  stable_after_ms: [10_000, 0, 3_600_000],
  check_timeout_ms: [3_000, 10, 600_000],
  publish_timeout_ms: [10_000, 10, 3_600_000],
  publishes_max: [1_000, 1, 1_000_000],
  pause_hidden_ms: [Infinity, 0, Infinity],
};

/** An option that is none, or out of range, is refused. `others` are those that are no numbers. */
export function settingsOf(options: object, others: string[]): Settings {
  const settings: any = { ...options, clock: clockOf((options as ClientOptions).clock) };
  for (const name in options) {
    if (!(name in KNOBS) && !others.includes(name)) refuse(`unknown option \`${name}\``);
  }
  for (const [name, [usual, least, most]] of Object.entries(KNOBS)) {
    settings[name] = within(name, settings[name] ?? usual, least, most);
  }
  return settings;
}

export function within(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  refuse(`\`${name}\` must be a number from ${least} to ${most}`);
}

export function refuse(message: string): never {
  throw new GridcastError("bad_option", message);
}
