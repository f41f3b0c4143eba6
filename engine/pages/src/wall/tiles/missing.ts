// Every PMU as a field, and a list of those that are missing. With the keyboard: arrows move
// between fields, Enter chooses one, Escape all again.

import { el, mark, say, show } from "../../shared/dom.js";
import { age } from "../../shared/format.js";
import type { TileSpec } from "../layout.js";
import type { Pmu, State } from "../pmus.js";
import { Card, type Tile, type Wall } from "../tile.js";

const GONE_SHOWN = 20;
const WORDS: Record<State, string> = {
  good: "good", unsure: "clock not in sync", bad: "data not to be used", missing: "missing",
};

export class MissingTile implements Tile {
  readonly element: HTMLElement;
  #card: Card;
  #wall: Wall;
  #list = el("div.pmus", { role: "group", "aria-label": "PMUs: choose one to look at" });
  #gone = el("ul.gone", { "aria-label": "Missing", tabindex: 0 });
  #pmus: Pmu[] = [];
  #buttons: HTMLButtonElement[] = [];
  #version = -1;
  #names = "";

  constructor(spec: TileSpec, wall: Wall) {
    this.#wall = wall;
    this.#card = new Card(spec, spec.label ?? "Who is heard");
    this.element = this.#card.element;
    this.#card.body.replaceWith(this.#list);
    this.element.append(this.#gone);
    this.#list.addEventListener("keydown", (event) => this.#key(event));
  }

  written(now_ms: number): void {
    const { all, version } = this.#wall.pmus;
    if (this.#version !== version) this.#pmus = [...all.values()].sort(byKey);
    const pmus = this.#pmus;
    const names = pmus.map(({ name }) => name).join("\n");
    if (this.#version !== version || names !== this.#names) this.#build(pmus, names);
    pmus.forEach((pmu, at) => this.#show(this.#buttons[at], pmu, pmu.state(now_ms)));
    const gone = pmus.filter((pmu) => pmu.state(now_ms) === "missing");
    this.#card.note(gone.length ? `${gone.length} of ${pmus.length} missing` : `all ${pmus.length}`,
      gone.length > 0);
    this.#tell(gone, now_ms);
  }

  #build(pmus: Pmu[], names: string): void {
    this.#version = this.#wall.pmus.version;
    this.#names = names;
    const focused = this.#buttons.indexOf(document.activeElement as HTMLButtonElement);
    const cut = commonStart(pmus.map(({ name }) => name));
    this.#buttons = pmus.map((pmu, at) => this.#button(pmu, cut, at));
    const longest = Math.max(3, ...pmus.map(({ name }) => name.length - cut));
    this.#list.style.setProperty("--cell", `${Math.min(longest * 0.45 + 1, 11)}rem`);
    this.#list.replaceChildren(...this.#buttons);
    if (focused >= 0) this.#move(focused);
  }

  #button(pmu: Pmu, cut: number, at: number): HTMLButtonElement {
    const attributes = { type: "button", tabindex: at === 0 ? 0 : -1, title: pmu.name };
    const button = el("button", attributes, pmu.name.slice(cut));
    button.addEventListener("click", () => {
      this.#wall.choose(this.#wall.pmus.chosen === pmu ? undefined : pmu.key);
    });
    return button;
  }

  #show(button: HTMLButtonElement, pmu: Pmu, state: State): void {
    mark(button, "data-state", state);
    mark(button, "aria-pressed", `${this.#wall.pmus.chosen === pmu}`);
    mark(button, "aria-label", `${pmu.name}: ${WORDS[state]}`);
  }

  #tell(gone: Pmu[], now_ms: number): void {
    show(this.#gone, gone.length > 0);
    const some = gone.slice(0, GONE_SHOWN);
    const rows = some.map((pmu) => [pmu.name, sinceOf(pmu, now_ms)]);
    if (gone.length > GONE_SHOWN) rows.push([`and ${gone.length - GONE_SHOWN} more`, ""]);
    while (this.#gone.children.length > rows.length) this.#gone.lastElementChild!.remove();
    rows.forEach(([name, since], at) => {
      const row = this.#gone.children[at]
        ?? this.#gone.appendChild(el("li", {}, el("span"), el("span")));
      say(row.children[0], name);
      say(row.children[1], since);
    });
  }

  #key(event: KeyboardEvent): void {
    const at = this.#buttons.indexOf(document.activeElement as HTMLButtonElement);
    const columns = getComputedStyle(this.#list).gridTemplateColumns.split(" ").length;
    const steps: Record<string, number> = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
      Home: -at, End: this.#buttons.length - 1 - at,
    };
    if (event.key === "Escape") this.#wall.choose(undefined);
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    this.#move(at + steps[event.key]);
  }

  #move(to: number): void {
    const target = this.#buttons[Math.max(0, Math.min(to, this.#buttons.length - 1))];
    if (!target) return;
    this.#buttons.forEach((button) => (button.tabIndex = button === target ? 0 : -1));
    target.focus();
  }
}

/** Numbers in names by their value. */
function byKey(a: Pmu, b: Pmu): number {
  return a.key.localeCompare(b.key, "en", { numeric: true });
}

function sinceOf({ heard_ms }: Pmu, now_ms: number): string {
  return heard_ms < 0 ? "not heard yet" : `heard ${age(now_ms - heard_ms)}`;
}

/** How many characters all names begin with, up to the last that is no letter or digit. */
function commonStart(names: string[]): number {
  if (names.length < 2) return 0;
  let length = 0;
  const [first] = names;
  while (length < first.length && names.every((name) => name[length] === first[length])) length++;
  while (length > 0 && /[\p{L}\d]/u.test(names[0][length - 1])) length--;
  return length;
}
