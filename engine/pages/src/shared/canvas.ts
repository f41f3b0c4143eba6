// A canvas that fills its place at the resolution of the screen. Owns its size; what is on it is
// drawn by whoever has it, at animation frames.

import { draw } from "./frames.js";
import { onScheme } from "./colours.js";

export interface Area {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  rem: number;
}

export class Canvas {
  readonly element = document.createElement("canvas");
  #context = this.element.getContext("2d")!;
  #paint: (area: Area) => void;
  #width = 0;
  #height = 0;

  constructor(label: string, paint: (area: Area) => void) {
    this.#paint = paint;
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", label);
    new ResizeObserver(([entry]) => {
      this.#width = entry.contentRect.width;
      this.#height = entry.contentRect.height;
      // At once: until its next frame the old picture would be stretched to the new size.
      this.#now();
    }).observe(this.element);
    onScheme(() => this.redraw());
  }

  redraw = (): void => draw(this.#now);

  #now = (): void => {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.#width * ratio), Math.round(this.#height * ratio)];
    if (!width || !height) return;
    if (this.element.width !== width) this.element.width = width;
    if (this.element.height !== height) this.element.height = height;
    const context = this.#context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#width, this.#height);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.#paint({ context, width: this.#width, height: this.#height, rem });
  };
}

const FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

export function font(px: number, weight = 400): string {
  return `${weight} ${px.toFixed(1)}px ${FAMILY}`;
}
