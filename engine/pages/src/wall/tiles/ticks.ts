// Ticks, whole or not: a bar for each, with what is missing on top.

import { Canvas, type Area } from "../../shared/canvas.js";
import { colours } from "../../shared/colours.js";
import { mark } from "../../shared/dom.js";
import { fixed } from "../../shared/format.js";
import type { TileSpec } from "../layout.js";
import { Card, type Tile, type Wall } from "../tile.js";

export class TicksTile implements Tile {
  readonly element: HTMLElement;
  #card: Card;
  #wall: Wall;
  #canvas = new Canvas("Ticks", (area) => this.#paint(area));

  constructor(spec: TileSpec, wall: Wall) {
    this.#wall = wall;
    this.#card = new Card(spec, spec.label ?? "Ticks, whole or not");
    this.element = this.#card.element;
    this.#card.body.append(this.#canvas.element);
  }

  fresh(): void {
    this.#canvas.redraw();
  }

  written(): void {
    const { is_aligned, newest, whole, counted } = this.#wall.ticks;
    if (!newest) return this.#card.note("none yet");
    const share = `${fixed((100 * whole) / counted, whole === counted ? 0 : 2)} % whole`;
    const what = is_aligned ? `of ${counted} ticks` : "of the seconds (no aligned ticks)";
    const text = `${share} ${what} · newest ${newest.arrived} of ${newest.members}`;
    this.#card.note(text, newest.arrived < newest.members);
    mark(this.#canvas.element, "aria-label", text);
  }

  #paint({ context, width, height, rem }: Area): void {
    const { arrived, members } = this.#wall.ticks;
    const step = Math.max(2, Math.round(rem * 0.22));
    const count = Math.min(arrived.length, Math.floor(width / step));
    const { good, bad, warn } = colours();
    for (let back = 0; back < count; back++) {
      const at = arrived.length - 1 - back;
      const share = members.at(at) ? arrived.at(at) / members.at(at) : 0;
      const x = width - (back + 1) * step;
      const is_whole = share >= 1;
      const missing = is_whole ? 0 : Math.max((1 - share) * height, rem * 0.35);
      context.globalAlpha = is_whole ? 0.6 : 0.45;
      context.fillStyle = is_whole ? good : warn;
      context.fillRect(x, missing, step - 1, height - missing);
      if (is_whole) continue;
      context.fillStyle = bad;
      context.globalAlpha = 1;
      context.fillRect(x, 0, step - 1, missing);
    }
    context.globalAlpha = 1;
  }
}
