// Frequency, or its rate of change, of all PMUs over the last minutes. One that is chosen stands
// out.

import { Chart, type Line, extent, span } from "../../shared/chart.js";
import { colours, lineColour } from "../../shared/colours.js";
import { mark } from "../../shared/dom.js";
import type { TileSpec } from "../layout.js";
import type { Pmu } from "../pmus.js";
import { Card, type Tile, type Wall } from "../tile.js";

/** Up to so many, each has a colour of its own. */
const TOLD_APART = 8;

export class LinesTile implements Tile {
  readonly element: HTMLElement;
  #card: Card;
  #wall: Wall;
  #chart: Chart;
  #shown = "";
  #title: string;
  #unit: string;

  constructor(readonly spec: TileSpec, wall: Wall) {
    const is_frequency = spec.kind === "frequency";
    this.#wall = wall;
    this.#unit = is_frequency ? "Hz" : "Hz/s";
    this.#title = spec.label ?? (is_frequency ? "Frequency" : "Rate of change of frequency");
    this.#card = new Card(spec, this.#title);
    this.element = this.#card.element;
    this.#chart = new Chart(wall.pmus.times, {
      label: this.#title, span: is_frequency ? 0.02 : 0.04, min: spec.min, max: spec.max,
    });
    this.#card.body.append(this.#chart.element);
  }

  slot(): void {
    const { all, chosen, version } = this.#wall.pmus;
    const wanted = `${version} ${chosen?.key ?? ""}`;
    if (wanted !== this.#shown) {
      this.#shown = wanted;
      this.#chart.setLines([...all.values()].map((pmu, at) => this.#line(pmu, at, all.size)));
    }
    this.#chart.redraw();
  }

  written(now_ms: number): void {
    const pmus = [...this.#wall.pmus.all.values()];
    const heard = pmus.filter((pmu) => pmu.state(now_ms) !== "missing");
    const [least, most] = extent(heard.map((pmu) => this.#ring(pmu)));
    const text = heard.length ? span(least, most, this.#unit) : "no PMU heard";
    this.#card.note(`${text} · ${this.#wall.layout.minutes} min`);
    mark(this.#chart.element, "aria-label", `${this.#title} of ${heard.length} PMUs: ${text}`);
  }

  #ring(pmu: Pmu): Pmu["rocofs"] {
    return this.spec.kind === "frequency" ? pmu.frequencies : pmu.rocofs;
  }

  #line(pmu: Pmu, at: number, count: number): Line {
    const { chosen } = this.#wall.pmus;
    const line = { label: pmu.name, ring: this.#ring(pmu) };
    if (pmu === chosen) return { ...line, colour: () => colours().warn, width: 2.5 };
    if (count <= TOLD_APART) return { ...line, colour: () => lineColour(at), width: 1.5 };
    return { ...line, colour: () => colours().accent, width: 1, alpha: chosen ? 0.18 : 0.4 };
  }
}
