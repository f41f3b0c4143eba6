// What is known of each PMU: its newest values, and frequencies over the last minutes. Owns which
// messages are a PMU's, and how many are kept. Memory does not grow: a ring for each PMU.

import type { Client, Message } from "../../../clients/js/src/index.js";
import {
  type Configuration, type Phasor, isData, readConfiguration, readData,
} from "../shared/c37118.js";
import { Ring } from "../shared/ring.js";
import { peek } from "../shared/peek.js";

/** Slots of the last minutes, as many as there are pixels for. */
export const SLOTS = 600;
const PMUS_MAX = 1_000;
/** Of each its frames, their configuration, and JSON. */
const PENDING_MAX = 3 * PMUS_MAX;
/** Silence after which a PMU is missing. */
export const MISSING_MS = 2_000;
/** Silence after which it is no PMU of this wall any more. */
const FORGET_MS = 86_400_000;
const CONFIGURATIONS_AT_ONCE = 4;

export type State = "good" | "unsure" | "bad" | "missing";

export class Pmu {
  frequency_hz = NaN;
  rocof = NaN;
  phasors: Phasor[] = [];
  /** In words, where something is wrong with its data. */
  trouble = "";
  is_bad = false;
  /** Never, of one that is only known to be missing. */
  heard_ms = -Infinity;
  /** The magnitude that its main phasor usually has: a dip is short beside it. */
  usual = NaN;
  name: string;
  readonly frequencies = new Ring(SLOTS);
  readonly rocofs = new Ring(SLOTS);

  constructor(readonly key: string) {
    this.name = key.split("/").at(-1)!;
  }

  state(now_ms: number): State {
    if (now_ms - this.heard_ms > MISSING_MS) return "missing";
    return this.is_bad ? "bad" : this.trouble ? "unsure" : "good";
  }

  measure(): void {
    const { magnitude } = this.main ?? {};
    if (!magnitude) return;
    if (Number.isNaN(this.usual)) this.usual = magnitude;
    else this.usual += (magnitude - this.usual) * USUAL_SHARE;
  }

  /** The phasor that stands for it: a positive sequence voltage, else the first voltage. */
  get main(): Phasor | undefined {
    return this.phasors.find(({ name, unit }) => unit !== "A" && /v1|pos/i.test(name))
      ?? this.phasors.find(({ unit }) => unit === "V") ?? this.phasors[0];
  }
}

const USUAL_SHARE = 0.0005;

export class Pmus {
  readonly all = new Map<string, Pmu>();
  readonly times = new Ring(SLOTS);
  /** The one that is looked at; none for all. */
  chosen: Pmu | undefined;
  /** What has come that is too much to keep. */
  left_out = 0;
  /** Grows when one is added or forgotten. */
  version = 0;
  #client: Client;
  #configurations = new Map<string, Configuration | undefined>();
  #pending = new Map<string, { data: unknown; now_ms: number }>();
  #lost_ms = Infinity;
  #asked: string[] = [];
  #asking = 0;
  #decoded = new Set<string>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** Keeps a message until it is settled: the newest of a topic, and no other, is read. */
  put({ topic, data }: Message, now_ms: number): void {
    if (this.#pending.size >= PENDING_MAX && !this.#pending.has(topic)) this.left_out++;
    else this.#pending.set(topic, { data, now_ms });
  }

  settle(): void {
    for (const [topic, { data, now_ms }] of this.#pending) {
      if (data instanceof Uint8Array) this.#takeBytes(topic, data, now_ms);
      else if (typeof data === "object" && data !== null) this.#takeJson(topic, data, now_ms);
    }
    this.#pending.clear();
  }

  /** A tick lacks these. Who is not known yet is missing from the beginning. */
  lack(topics: string[]): void {
    for (const topic of topics) {
      const key = topic.replace(/\/json$/, "");
      if (!this.all.has(key)) this.#find(key);
    }
  }

  /** Ends a slot of time: what each has now is its value there. */
  slot(now_ms: number, unix_s: number): void {
    this.settle();
    this.times.push(unix_s);
    for (const [key, pmu] of this.all) {
      const is_missing = pmu.state(now_ms) === "missing";
      pmu.frequencies.push(is_missing ? NaN : pmu.frequency_hz);
      pmu.rocofs.push(is_missing ? NaN : pmu.rocof);
      const is_forgotten = Number.isFinite(pmu.heard_ms) && now_ms - pmu.heard_ms > FORGET_MS;
      if (is_forgotten) this.#forget(key);
    }
  }

  /** The mean of those that are heard. */
  mean(now_ms: number): { mean: number; heard: number } {
    let [sum, count, heard] = [0, 0, 0];
    for (const pmu of this.all.values()) {
      const state = pmu.state(now_ms);
      if (state === "missing") continue;
      heard++;
      if (state === "bad" || Number.isNaN(pmu.frequency_hz)) continue;
      sum += pmu.frequency_hz;
      count++;
    }
    return { mean: sum / count, heard };
  }

  /** The connection is gone. */
  lose(now_ms: number): void {
    this.#lost_ms = now_ms;
  }

  /** It is back: that nothing came meanwhile was nobody's silence. */
  excuse(now_ms: number): void {
    for (const pmu of this.all.values()) {
      if (pmu.heard_ms > this.#lost_ms - MISSING_MS) pmu.heard_ms = now_ms;
    }
  }

  #takeBytes(topic: string, data: Uint8Array, now_ms: number): void {
    if (!isData(data)) return this.#takeConfiguration(topic, data);
    if (this.#decoded.has(parentOf(topic))) return; // As JSON it says more.
    if (!this.#configurations.has(topic)) this.#askFor(topic);
    const frame = readData(data, this.#configurations.get(topic));
    if (!frame) return;
    for (const one of frame.pmus) {
      const pmu = this.#find(frame.pmus.length > 1 ? `${topic}:${one.id}` : topic);
      if (!pmu) continue;
      pmu.heard_ms = now_ms;
      pmu.frequency_hz = one.frequency_hz;
      pmu.rocof = one.rocof_hz_per_s;
      pmu.phasors = one.phasors;
      pmu.measure();
      pmu.is_bad = one.stat >> 14 !== 0;
      pmu.trouble = troubleOf(pmu.is_bad, (one.stat & 0x2000) === 0);
      if (one.station) pmu.name = one.station;
    }
  }

  #takeConfiguration(topic: string, data: Uint8Array): void {
    const configuration = readConfiguration(data);
    if (configuration) this.#configurations.set(topic.replace(/\/cfg$/, ""), configuration);
  }

  /** A late viewer asks for the configuration once; the next one comes by itself. */
  #askFor(topic: string): void {
    if (this.#configurations.size >= PMUS_MAX) return;
    this.#configurations.set(topic, undefined);
    this.#asked.push(topic);
    while (this.#asking < CONFIGURATIONS_AT_ONCE && this.#asked.length) void this.#askNext();
  }

  async #askNext(): Promise<void> {
    this.#asking++;
    for (let topic = this.#asked.shift(); topic; topic = this.#asked.shift()) {
      const found = await peek(this.#client, `${topic}/cfg`).catch(() => undefined);
      if (found instanceof Uint8Array) this.#takeConfiguration(topic, found);
    }
    this.#asking--;
  }

  #takeJson(topic: string, data: object, now_ms: number): void {
    const said = data as Record<string, any>;
    const frequency = numberIn(said, ["frequency_hz", "frequency", "freq_hz", "freq", "hz", "f"]);
    if (frequency === undefined) return;
    if (topic.endsWith("/json")) this.#preferJson(topic);
    const pmu = this.#find(topic.replace(/\/json$/, ""));
    if (!pmu) return;
    pmu.heard_ms = now_ms;
    pmu.frequency_hz = frequency;
    const rates = ["rocof_hz_per_s", "rocof", "dfreq_hz_per_s", "dfreq", "dfdt", "df"];
    pmu.rocof = numberIn(said, rates) ?? NaN;
    const phasors = said.phasors ?? said.ph;
    pmu.phasors = Array.isArray(phasors) ? phasors.map(phasorOf) : [];
    pmu.measure();
    const { data: quality = "good", in_sync = true } = said.stat ?? {};
    pmu.is_bad = quality !== "good";
    pmu.trouble = troubleOf(pmu.is_bad, in_sync);
    const name = said.station ?? said.name;
    if (typeof name === "string" && name) pmu.name = name;
  }

  #preferJson(topic: string): void {
    const stream = parentOf(topic.replace(/\/json$/, ""));
    if (this.#decoded.has(stream) || this.#decoded.size >= PMUS_MAX) return;
    this.#decoded.add(stream);
    for (const key of this.all.keys()) if (parentOf(key) === stream) this.#forget(key);
  }

  #find(key: string): Pmu | undefined {
    const known = this.all.get(key);
    if (known) return known;
    if (this.all.size >= PMUS_MAX) {
      this.left_out++;
      return undefined;
    }
    const pmu = new Pmu(key);
    for (let at = 0; at < this.times.length; at++) {
      pmu.frequencies.push(NaN);
      pmu.rocofs.push(NaN);
    }
    this.all.set(key, pmu);
    this.version++;
    return pmu;
  }

  #forget(key: string): void {
    if (this.chosen?.key === key) this.chosen = undefined;
    this.all.delete(key);
    this.version++;
  }
}

function parentOf(topic: string): string {
  return topic.slice(0, Math.max(topic.lastIndexOf("/"), 0));
}

function troubleOf(is_bad: boolean, in_sync: boolean): string {
  return is_bad ? "data not to be used" : in_sync ? "" : "clock not in sync";
}

function numberIn(said: Record<string, unknown>, names: string[]): number | undefined {
  const name = names.find((one) => typeof said[one] === "number");
  return name === undefined ? undefined : (said[name] as number);
}

function phasorOf(said: any): Phasor {
  const [name, unit] = [`${said?.name ?? ""}`, said?.unit === "A" ? "A" : "V"] as const;
  if (Array.isArray(said)) {
    return { name, unit: "", magnitude: said[0], angle_deg: degrees(said[1]) };
  }
  const angle_deg = said?.angle_deg ?? degrees(said?.angle_rad);
  return { name, unit, magnitude: said?.magnitude ?? NaN, angle_deg: angle_deg ?? NaN };
}

function degrees(radians: unknown): number {
  return typeof radians === "number" ? (radians * 180) / Math.PI : NaN;
}
