// Phasors on a dial. Of all PMUs: one each, by its angle against their mean and by its magnitude
// against its usual one. Of one that is chosen: all of its phasors.

import { Canvas, type Area, font } from "../../shared/canvas.js";
import { colours, lineColour } from "../../shared/colours.js";
import { el, mark, say, show } from "../../shared/dom.js";
import { fixed, short } from "../../shared/format.js";
import type { Phasor } from "../../shared/c37118.js";
import type { TileSpec } from "../layout.js";
import type { Pmu } from "../pmus.js";
import { Card, type Tile, type Wall } from "../tile.js";

interface Dial { context: CanvasRenderingContext2D; x: number; y: number; radius: number }

const USUAL_AT = 0.82;

export class DialTile implements Tile {
  readonly element: HTMLElement;
  #card: Card;
  #wall: Wall;
  #canvas = new Canvas("Phasors", (area) => this.#paint(area));
  #key = el("ul.key");

  constructor(spec: TileSpec, wall: Wall) {
    this.#wall = wall;
    this.#card = new Card(spec, spec.label ?? "Phasors");
    this.element = this.#card.element;
    this.#card.body.append(this.#canvas.element);
    this.element.append(this.#key);
  }

  fresh(): void {
    this.#canvas.redraw();
  }

  written(now_ms: number): void {
    const { chosen, all } = this.#wall.pmus;
    const spread = spreadOf([...all.values()].filter((pmu) => pmu.state(now_ms) !== "missing"));
    this.#card.note(chosen ? chosen.name : all.size ? `spread ${fixed(spread, 1)}°` : "");
    const said = chosen ? `Phasors of ${chosen.name}: ${chosen.phasors.map(inWords).join(", ")}`
      : `Phasors of ${all.size} PMUs, spread over ${fixed(spread, 0)} degrees`;
    mark(this.#canvas.element, "aria-label", said);
    this.#fillKey(chosen?.phasors ?? []);
    this.#canvas.redraw();
  }

  #fillKey(phasors: Phasor[]): void {
    show(this.#key, phasors.length > 0);
    while (this.#key.children.length > phasors.length) this.#key.lastElementChild!.remove();
    phasors.forEach((phasor, at) => {
      say(this.#key.children[at] ?? this.#key.appendChild(el(`li.l${at % 8}`)), inWords(phasor));
    });
  }

  #paint({ context, width, height, rem }: Area): void {
    const { chosen, all } = this.#wall.pmus;
    const radius = Math.min(width, height) / 2 - rem * 1.1;
    if (radius < rem) return;
    const dial = { context, x: width / 2, y: height / 2, radius };
    paintFace(dial, rem);
    const now_ms = performance.now();
    if (chosen) paintOne(dial, chosen, rem);
    else paintAll(dial, [...all.values()], now_ms, rem);
  }
}

function paintFace({ context, x, y, radius }: Dial, rem: number): void {
  const { line, soft } = colours();
  context.lineWidth = 1;
  context.strokeStyle = line;
  for (const share of [1, USUAL_AT, USUAL_AT / 2]) {
    context.beginPath();
    context.arc(x, y, radius * share, 0, 2 * Math.PI);
    context.stroke();
  }
  context.fillStyle = soft;
  context.font = font(rem * 0.7);
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let degrees = 0; degrees < 360; degrees += 30) {
    const [dx, dy] = direction(degrees);
    const inner = degrees % 90 ? 0.97 : 0.93;
    context.beginPath();
    context.moveTo(x + dx * radius * inner, y + dy * radius * inner);
    context.lineTo(x + dx * radius, y + dy * radius);
    context.stroke();
    if (degrees % 90) continue;
    const away = radius + rem * 0.62;
    const text = degrees > 180 ? `−${360 - degrees}°` : `${degrees}°`;
    context.fillText(text, x + dx * (away + (dx ? rem * 0.25 : 0)), y + dy * away);
  }
}

function paintAll(dial: Dial, pmus: Pmu[], now_ms: number, rem: number): void {
  const mean = meanAngle(pmus.filter((pmu) => pmu.state(now_ms) !== "missing"));
  const { accent, warn, bad } = colours();
  const width = Math.max(1, Math.min(rem * 0.16, (rem * 3) / Math.sqrt(pmus.length || 1) / 4));
  for (const pmu of pmus) {
    const state = pmu.state(now_ms);
    const phasor = pmu.main;
    if (state === "missing" || !phasor || !(pmu.usual > 0)) continue;
    const length = Math.min((phasor.magnitude / pmu.usual) * USUAL_AT, 1.05);
    const colour = state === "bad" ? bad : state === "unsure" ? warn : accent;
    arrow(dial, phasor.angle_deg - mean, length, colour, width, state === "good" ? 0.55 : 0.95);
  }
}

function paintOne(dial: Dial, { phasors, main }: Pmu, rem: number): void {
  const reference = main?.angle_deg ?? 0;
  const most = (unit: string): number =>
    Math.max(...phasors.filter((one) => one.unit === unit).map((one) => one.magnitude || 0), 1e-9);
  phasors.forEach((phasor, at) => {
    const scale = phasor.unit === "A" ? 0.6 : USUAL_AT;
    const length = (phasor.magnitude / most(phasor.unit)) * scale;
    arrow(dial, phasor.angle_deg - reference, length, lineColour(at), rem * 0.16, 1);
  });
}

function arrow(
  { context, x, y, radius }: Dial, degrees: number, length: number, colour: string,
  width: number, alpha: number,
): void {
  if (!Number.isFinite(degrees) || !Number.isFinite(length)) return;
  const [dx, dy] = direction(degrees);
  const [tip_x, tip_y] = [x + dx * radius * length, y + dy * radius * length];
  context.globalAlpha = alpha;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(tip_x, tip_y);
  context.stroke();
  context.beginPath();
  context.arc(tip_x, tip_y, width * 1.7, 0, 2 * Math.PI);
  context.fill();
  context.globalAlpha = 1;
}

/** 0 degrees is to the right, 90 up. */
function direction(degrees: number): [x: number, y: number] {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), -Math.sin(angle)];
}

function meanAngle(pmus: Pmu[]): number {
  let [x, y] = [0, 0];
  for (const { main } of pmus) {
    if (!main || Number.isNaN(main.angle_deg)) continue;
    const [dx, dy] = direction(main.angle_deg);
    x += dx;
    y -= dy;
  }
  return (Math.atan2(y, x) * 180) / Math.PI;
}

/** Between the first and the last against the mean, in degrees. */
function spreadOf(pmus: Pmu[]): number {
  const mean = meanAngle(pmus);
  let [least, most] = [0, 0];
  for (const { main } of pmus) {
    if (!main || Number.isNaN(main.angle_deg)) continue;
    const apart = main.angle_deg - mean - 360 * Math.round((main.angle_deg - mean) / 360);
    least = Math.min(least, apart);
    most = Math.max(most, apart);
  }
  return most - least;
}

function inWords({ name, magnitude, unit, angle_deg }: Phasor): string {
  return `${name || "phasor"}  ${short(magnitude)}${unit}  ${fixed(angle_deg, 1)}°`;
}
