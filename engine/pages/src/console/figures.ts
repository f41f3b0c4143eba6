// The row of live figures, each with its last five minutes. Owns the rings; values are handed in.

import { colours } from "../shared/colours.js";
import { Canvas, type Area } from "../shared/canvas.js";
import { el, say } from "../shared/dom.js";
import { Ring } from "../shared/ring.js";

export const KEPT_S = 300;

export class Figure {
  readonly element: HTMLLIElement;
  readonly ring = new Ring(KEPT_S);
  #number = el("span");
  #canvas: Canvas;

  constructor(readonly name: string, unit: string, readonly write: (value: number) => string) {
    this.#canvas = new Canvas(`${name}, last five minutes`, (area) => this.#paint(area));
    const value = el("b", {}, this.#number, el("small", {}, unit));
    this.element = el("li.card.figure", {}, el("h2", {}, name), value, this.#canvas.element);
  }

  push(value: number): void {
    this.ring.push(value);
    say(this.#number, this.write(value));
    this.#canvas.redraw();
  }

  #paint({ context, width, height }: Area): void {
    const { ring } = this;
    let most = 0;
    for (let at = 0; at < ring.length; at++) most = Math.max(most, ring.at(at) || 0);
    const scale = (height - 4) / (most || 1);
    const step = width / (KEPT_S - 1);
    context.beginPath();
    let is_down = false;
    for (let at = 0; at < ring.length; at++) {
      const value = ring.at(at);
      const x = width - (ring.length - 1 - at) * step;
      if (Number.isNaN(value)) is_down = false;
      else if (is_down) context.lineTo(x, height - 2 - value * scale);
      else context.moveTo(x, height - 2 - value * scale);
      is_down = !Number.isNaN(value);
    }
    context.strokeStyle = colours().accent;
    context.lineWidth = 1.5;
    context.stroke();
  }
}
