// A numeric field of any topic: as a number, on a gauge, with its last minutes, or as lines. Owns
// when a value is too old.

import { Canvas, type Area, font } from "../../shared/canvas.js";
import { Chart } from "../../shared/chart.js";
import { colours } from "../../shared/colours.js";
import { el, mark, say } from "../../shared/dom.js";
import { numberAt } from "../../shared/fields.js";
import { age, fixed, short } from "../../shared/format.js";
import { readable } from "../../shared/reading.js";
import { Ring } from "../../shared/ring.js";
import type { TileSpec } from "../layout.js";
import { SLOTS } from "../pmus.js";
import { Card, type Tile, type Wall } from "../tile.js";

const STALE_S = 10;
const LINES_MAX = 8;

interface Field { path: string; value: number; ring: Ring }

export class ValueTile implements Tile {
  readonly element: HTMLElement;
  #card: Card;
  #wall: Wall;
  #fields: Field[];
  #heard_ms = -Infinity;
  #value = el("p.value");
  #number = el("span");
  #canvas: Canvas | undefined;
  #chart: Chart | undefined;
  #title: string;

  constructor(readonly spec: TileSpec, wall: Wall) {
    this.#wall = wall;
    const { topic = "", field = "value" } = spec;
    const paths = field.split("|").slice(0, spec.kind === "series" ? LINES_MAX : 1);
    this.#fields = paths.map((path) => ({ path, value: NaN, ring: new Ring(SLOTS) }));
    this.#title = spec.label ?? (field === "value" ? topic : `${topic} ${paths.join(", ")}`);
    this.#card = new Card(spec, this.#title);
    this.element = this.#card.element;
    this.#value.append(this.#number, el("small", {}, spec.unit ?? ""));
    this.#build();
    wall.sources.follow(topic, { from: "last", mode: "latest" }, ({ data }) => this.#take(data));
  }

  #build(): void {
    const { kind, min, max } = this.spec;
    if (kind === "number" || kind === "sparkline") this.#card.body.before(this.#value);
    if (kind === "number") return this.#card.body.remove();
    if (kind === "series") {
      this.#chart = new Chart(this.#wall.pmus.times, { label: this.#title, min, max });
      this.#chart.setLines(this.#fields.map(({ path, ring }) => ({ label: path, ring })));
      const key = this.#fields.map(({ path }, at) => el(`li.l${at}`, {}, path));
      if (key.length > 1) this.#card.body.before(el("ul.key", {}, ...key));
      return this.#card.body.append(this.#chart.element);
    }
    const paint = kind === "gauge" ? this.#paintGauge : this.#paintSparkline;
    this.#canvas = new Canvas(this.#title, paint);
    this.#card.body.append(this.#canvas.element);
  }

  #take(data: unknown): void {
    this.#heard_ms = performance.now();
    const { value } = data instanceof Uint8Array ? readable(data) : { value: data };
    for (const field of this.#fields) field.value = numberAt(value, field.path);
    if (this.spec.kind === "gauge") this.#canvas?.redraw();
  }

  #isOld(now_ms: number): boolean {
    return now_ms - this.#heard_ms > (this.spec.stale ?? STALE_S) * 1000;
  }

  written(now_ms: number): void {
    const [{ value }] = this.#fields;
    const { unit = "" } = this.spec;
    say(this.#number, this.#text(value));
    const is_old = this.#isOld(now_ms);
    const since = this.#heard_ms < 0 ? "no message yet" : age(now_ms - this.#heard_ms);
    const is_read = this.#fields.some((field) => !Number.isNaN(field.value));
    const now = is_read || this.#heard_ms < 0 ? "" : "no such number";
    const newest = this.spec.kind === "series" ? `${this.#text(value)} ${unit}` : now;
    this.#card.note(is_old ? since : newest, is_old || now !== "");
    const label = `${this.#title}: ${this.#text(value)} ${unit}${is_old ? `, ${since}` : ""}`;
    if (this.#canvas) mark(this.#canvas.element, "aria-label", label);
    if (this.#chart) mark(this.#chart.element, "aria-label", label);
  }

  slot(now_ms: number): void {
    for (const { ring, value } of this.#fields) ring.push(this.#isOld(now_ms) ? NaN : value);
    this.#chart?.redraw();
    if (this.spec.kind === "sparkline") this.#canvas?.redraw();
  }

  #text(value: number): string {
    const { digits } = this.spec;
    return digits === undefined ? short(value).replace("-", "−") : fixed(value, digits);
  }

  #paintGauge = ({ context, width, height, rem }: Area): void => {
    const { min = 0, max = 100, unit = "" } = this.spec;
    const [{ value }] = this.#fields;
    const [start, sweep] = [Math.PI * 0.8, Math.PI * 1.4];
    const radius = Math.min(width / 2 - rem * 0.6, (height - rem * 2) / 1.6);
    const [x, y] = [width / 2, radius + rem * 0.4];
    const share = Math.max(0, Math.min(1, (value - min) / (max - min || 1)));
    const { line, accent, ink, soft, warn } = colours();
    context.lineWidth = radius * 0.16;
    context.lineCap = "round";
    context.strokeStyle = line;
    context.beginPath();
    context.arc(x, y, radius * 0.88, start, start + sweep);
    context.stroke();
    if (Number.isFinite(share)) {
      context.strokeStyle = value < min || value > max ? warn : accent;
      context.beginPath();
      context.arc(x, y, radius * 0.88, start, start + Math.max(sweep * share, 0.001));
      context.stroke();
    }
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = ink;
    context.font = font(radius * 0.42, 600);
    context.fillText(this.#text(value), x, y);
    context.fillStyle = soft;
    context.font = font(Math.max(radius * 0.17, rem * 0.7));
    context.fillText(unit, x, y + radius * 0.34);
    const [dx, dy] = [Math.cos(start) * radius * 0.88, Math.sin(start) * radius + rem * 0.75];
    context.fillText(short(min), x + dx, y + dy);
    context.fillText(short(max), x - dx, y + dy);
  };

  #paintSparkline = ({ context, width, height }: Area): void => {
    const [{ ring }] = this.#fields;
    let [least, most] = [this.spec.min ?? Infinity, this.spec.max ?? -Infinity];
    for (let at = 0; at < ring.length; at++) {
      const value = ring.at(at);
      if (value < least) least = value;
      if (value > most) most = value;
    }
    const scale = (height - 6) / (most - least || 1);
    let is_down = false;
    context.beginPath();
    for (let at = 0; at < ring.length; at++) {
      const value = ring.at(at);
      const x = width - ((ring.length - 1 - at) * width) / (SLOTS - 1);
      const y = height - 3 - (value - least) * scale;
      if (!Number.isNaN(value)) context[is_down ? "lineTo" : "moveTo"](x, y);
      is_down = !Number.isNaN(value);
    }
    context.strokeStyle = colours().accent;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.stroke();
  };
}
