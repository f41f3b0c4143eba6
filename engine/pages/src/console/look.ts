// Looks into one topic: its newest message as a tree, its numbers over time. Owns the subscription,
// and what is kept of it: a ring for each number, and nothing else.

import type { Client, Feed, Message } from "../../../clients/js/src/index.js";
import { type Configuration, isData, readConfiguration } from "../shared/c37118.js";
import { Chart } from "../shared/chart.js";
import { byId, el, say, show } from "../shared/dom.js";
import { eachNumber } from "../shared/fields.js";
import { draw } from "../shared/frames.js";
import { peek } from "../shared/peek.js";
import { readable } from "../shared/reading.js";
import { Ring } from "../shared/ring.js";
import { short } from "../shared/format.js";
import { Tree } from "./tree.js";

const SAMPLES = 1_200;
const SAMPLE_MS = 100;
const FIELDS_MAX = 64;
const LINES_MAX = 8;
/** A tree that changes more often cannot be read. */
const TREE_MS = 200;

export class Look {
  #client: Client;
  #feed: Feed | undefined;
  #topic = "";
  #newest: Message | undefined;
  #shown: Message | undefined;
  #configuration: Configuration | undefined;
  #is_paused = false;
  #count = 0;
  #times = new Ring(SAMPLES);
  #fields = new Map<string, Ring>();
  #charted: string[] = [];
  #chart = new Chart(this.#times, { label: "Chosen numbers over time" });
  #tree = new Tree(byId("tree"), (path) => this.#choose(path));
  #sampled_ms = 0;
  #written_ms = 0;

  constructor(client: Client) {
    this.#client = client;
    byId("series").append(this.#chart.element);
    byId("pause").addEventListener("click", () => this.#pause(!this.#is_paused));
    setInterval(() => this.#tell(), 1_000);
  }

  get topic(): string {
    return this.#topic;
  }

  /** The newest message of it that has come. */
  get newest(): unknown {
    return this.#newest?.data;
  }

  open(topic: string): void {
    this.#feed?.close();
    this.#topic = topic;
    this.#newest = this.#shown = this.#configuration = undefined;
    this.#count = 0;
    this.#times.clear();
    this.#fields.clear();
    this.#charted = [];
    this.#tree.clear();
    this.#pause(false);
    say(byId("looked-at"), topic);
    say(byId("trouble"), "");
    say(byId("facts"), "waiting for a message");
    show(byId("look-hint"), false);
    show(byId("message"), false);
    byId<HTMLButtonElement>("pause").disabled = false;
    this.#subscribe(topic);
  }

  #subscribe(topic: string): void {
    try {
      const options = { from: "last", mode: "latest" } as const;
      this.#feed = this.#client.subscribe(topic, (message) => this.#take(message), options);
    } catch (thrown) {
      return say(byId("trouble"), thrown instanceof Error ? thrown.message : `${thrown}`);
    }
    this.#feed.on("gap", () => {}); // Of the newest only there is nothing to miss.
    this.#feed.on("error", ({ error }) => say(byId("trouble"), `${error.code}: ${error.message}`));
  }

  #take(message: Message): void {
    this.#count++;
    const is_first = !this.#newest;
    this.#newest = message;
    const { data, topic } = message;
    if (is_first && data instanceof Uint8Array && isData(data)) void this.#configure(topic);
    if (!this.#is_paused) draw(this.#write);
  }

  async #configure(topic: string): Promise<void> {
    const found = await peek(this.#client, `${topic}/cfg`);
    if (topic !== this.#topic || !(found instanceof Uint8Array)) return;
    this.#configuration = readConfiguration(found);
    this.#fields.clear();
    this.#charted = [];
    this.#tree.clear();
  }

  #write = (now_ms: number): void => {
    const message = this.#newest;
    if (!message || this.#is_paused) return;
    const is_due = now_ms - this.#sampled_ms >= SAMPLE_MS;
    const is_tree_due = !this.#shown || now_ms - this.#written_ms >= TREE_MS;
    if (!is_due && !is_tree_due) return;
    const { value, bytes } = readable(message.data, this.#configuration);
    if (is_due) this.#sample(value, now_ms);
    if (!is_tree_due) return;
    this.#written_ms = now_ms;
    this.#shown = message;
    show(byId("message"), true);
    if (value === undefined) byId("tree").replaceChildren(el("pre.mono", {}, bytes ?? ""));
    else this.#tree.show(value, (path) => this.#charted.includes(path));
  };

  #sample(value: unknown, now_ms: number): void {
    this.#sampled_ms = now_ms;
    const length = this.#times.length;
    this.#times.push(Date.now() / 1000);
    const found = new Map<string, number>();
    eachNumber(value, (path, number) => found.set(path, number));
    for (const [path, number] of found) {
      const ring = this.#fields.get(path) ?? this.#add(path, length);
      ring?.push(number);
    }
    for (const [path, ring] of this.#fields) if (!found.has(path)) ring.push(NaN);
    if (!this.#charted.length && found.size) this.#choose(firstOf([...found.keys()]));
    else this.#chart.redraw();
  }

  #add(path: string, length: number): Ring | undefined {
    if (this.#fields.size >= FIELDS_MAX) return undefined;
    const ring = new Ring(SAMPLES);
    for (let at = 0; at < length; at++) ring.push(NaN);
    this.#fields.set(path, ring);
    return ring;
  }

  #choose(path: string): void {
    if (!this.#fields.has(path)) return;
    const others = this.#charted.filter((charted) => charted !== path);
    const is_new = others.length === this.#charted.length;
    this.#charted = is_new ? [...others, path].slice(-LINES_MAX) : others;
    this.#chart.setLines(this.#charted.map((label) => ({ label, ring: this.#fields.get(label)! })));
    byId("series-key").replaceChildren(
      ...this.#charted.map((label, at) => el(`li.l${at}`, {}, label)));
    show(byId("series"), this.#charted.length > 0);
    if (this.#shown) {
      const { value } = readable(this.#shown.data, this.#configuration);
      if (value !== undefined) this.#tree.show(value, (one) => this.#charted.includes(one));
    }
  }

  #pause(is_paused: boolean): void {
    this.#is_paused = is_paused;
    const button = byId("pause");
    button.setAttribute("aria-pressed", `${is_paused}`);
    say(button, is_paused ? "Resume" : "Pause");
    if (!is_paused) draw(this.#write);
  }

  #tell(): void {
    const { seq, epoch, data } = this.#shown ?? {};
    if (data === undefined || epoch === undefined) return;
    const { kind } = readable(data, this.#configuration);
    const paused = this.#is_paused ? " · paused, messages go on arriving" : "";
    const place = `seq ${seq} of epoch ${epoch}`;
    say(byId("facts"), `${kind} · ${place} · ${short(this.#count)}/s shown${paused}`);
    this.#count = 0;
  }
}

/** What one most likely wants to see first. */
function firstOf(paths: string[]): string {
  return paths.find((path) => /frequency|value|hz$/i.test(path)) ?? paths[0];
}
