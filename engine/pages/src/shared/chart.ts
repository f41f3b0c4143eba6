// Lines over the last minutes, by uPlot: any number of rings that share their instants. Owns the
// axes and when it is drawn. Must not know where values come from.

import uPlot from "uplot";
import { colours, lineColour, onScheme } from "./colours.js";
import { draw } from "./frames.js";
import { digitsFor, fixed } from "./format.js";
import { Ring } from "./ring.js";

export interface Line {
  label: string;
  ring: Ring;
  colour?: () => string;
  width?: number;
  alpha?: number;
}

/** Between two marks of the other axis: steps that need no more digits than they have. */
const STEPS = Array.from({ length: 20 }, (_, at) => at - 7)
  .flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
/** What the axis of time shows at least. */
const WIDTH_S = 30;

export interface ChartOptions {
  label: string;
  unit?: string;
  /** The smallest span of the axis, so that noise does not fill it. */
  span?: number;
  min?: number;
  max?: number;
  digits?: number;
  /** How a value of the axis is written. */
  format?: (value: number) => string;
}

export class Chart {
  readonly element: HTMLElement;
  #times: Ring;
  #options: ChartOptions;
  #lines: Line[] = [];
  #data: (number | null)[][] = [];
  #plot: uPlot | undefined;
  #size = { width: 0, height: 0 };

  constructor(times: Ring, options: ChartOptions) {
    this.#times = times;
    this.#options = options;
    this.element = document.createElement("div");
    this.element.className = "chart";
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", options.label);
    new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      this.#size = { width: Math.floor(width), height: Math.floor(height) };
      draw(this.#resized);
    }).observe(this.element);
    onScheme(() => this.setLines(this.#lines));
  }

  /** Other lines; the chart is made anew. */
  setLines(lines: Line[]): void {
    this.#lines = lines;
    this.#data = [];
    this.#plot?.destroy();
    this.#plot = undefined;
    this.redraw();
  }

  redraw = (): void => draw(this.#now);

  #resized = (): void => {
    const { width, height } = this.#size;
    if (width && height) this.#plot?.setSize(this.#size);
    this.#now();
  };

  #now = (): void => {
    if (this.#size.width < 40 || this.#size.height < 30 || !this.#times.length) return;
    if (this.#data[0]?.length !== this.#times.length) {
      const { length } = this.#times;
      this.#data = [this.#times, ...this.#lines].map(() => new Array(length).fill(null));
    }
    this.#times.fill(this.#data[0]);
    this.#lines.forEach(({ ring }, at) => ring.fill(this.#data[at + 1]));
    const data = this.#data as unknown as uPlot.AlignedData;
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot(this.#uplot(), data, this.element);
  };

  #uplot(): uPlot.Options {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const font = `${(rem * 0.72).toFixed(1)}px system-ui, sans-serif`;
    const { soft, line } = colours();
    const axis = { stroke: soft, font, ticks: { show: false }, grid: { stroke: line, width: 1 } };
    return {
      ...this.#size,
      legend: { show: false },
      cursor: { show: false },
      padding: [rem * 0.5, rem * 1.9, 0, 0],
      scales: {
        x: { range: (_, first, last) => [Math.min(first, last - WIDTH_S), last] },
        y: { range: (_, least, most) => this.#range(least, most) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: rem * 1.5, gap: rem * 0.25, space: rem * 6,
          values: (_, marks) => marks.map(clock) },
        { ...axis, incrs: STEPS, size: rem * 3.7, gap: rem * 0.35, space: rem * 1.9,
          values: (_, marks) => this.#written(marks) },
      ],
      series: [{}, ...this.#lines.map((one, at) => ({
        label: one.label,
        stroke: one.colour?.() ?? lineColour(at),
        width: ((one.width ?? 1.5) * rem) / 15,
        alpha: one.alpha ?? 1,
        points: { show: false },
      }))],
    };
  }

  #written(marks: number[]): string[] {
    if (this.#options.format) return marks.map(this.#options.format);
    const step = marks.length > 1 ? Math.abs(marks[1] - marks[0]) : 1;
    const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)));
    return marks.map((value) => fixed(value, digits));
  }

  #range(least: number | null, most: number | null): [number, number] {
    const { span = 0, min, max } = this.#options;
    let [from, to] = [min ?? least ?? 0, max ?? most ?? 1];
    const missing = Math.max(span, Math.abs(to) * 1e-6, 1e-9) - (to - from);
    if (missing > 0) {
      if (min === undefined) from -= max === undefined ? missing / 2 : missing;
      if (max === undefined) to += min === undefined ? missing / 2 : missing;
    }
    const room = (to - from) * 0.06;
    return [min ?? from - room, max ?? to + room];
  }
}

function clock(unix_s: number): string {
  return new Date(unix_s * 1000).toISOString().slice(11, 19);
}

/** The lowest and highest of some rings, as text. */
export function extent(rings: Iterable<Ring>): [number, number] {
  let [least, most] = [Infinity, -Infinity];
  for (const { last } of rings) {
    if (Number.isNaN(last)) continue;
    least = Math.min(least, last);
    most = Math.max(most, last);
  }
  return [least, most];
}

export function span(least: number, most: number, unit = ""): string {
  if (least > most) return "no values";
  const digits = digitsFor(least, most);
  return `${fixed(least, digits)} to ${fixed(most, digits)}${unit && ` ${unit}`}`;
}
