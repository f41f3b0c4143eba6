// What every tile is: a card with a title, a note and a body; and when it is called. Must not know
// any kind of tile.

import { el, say } from "../shared/dom.js";
import type { Layout, TileSpec } from "./layout.js";
import type { Pmus } from "./pmus.js";
import type { Sources } from "./sources.js";
import type { Ticks } from "./ticks.js";

/** What tiles have in common. */
export interface Wall {
  layout: Layout;
  pmus: Pmus;
  ticks: Ticks;
  sources: Sources;
  /** Has one PMU stand out, or none. */
  choose(key: string | undefined): void;
}

export interface Tile {
  element: HTMLElement;
  /** Something has come: once an animation frame at most. */
  fresh?(now_ms: number): void;
  /** Four times a second: what is read as text. */
  written?(now_ms: number): void;
  /** A slot of time has ended. */
  slot?(now_ms: number): void;
}

export class Card {
  readonly element: HTMLElement;
  readonly body = el("div.plot");
  #note = el("p");

  constructor(spec: TileSpec, title: string) {
    const heading = el("h2", { title }, title);
    this.element = el("section.card", { "aria-label": title },
      el("header", {}, heading, this.#note), this.body);
    this.element.classList.add("tile", spec.kind, `w${spec.w}`, `h${spec.h}`);
  }

  note(text: string, is_old = false): void {
    say(this.#note, text);
    this.#note.classList.toggle("old", is_old);
  }
}
