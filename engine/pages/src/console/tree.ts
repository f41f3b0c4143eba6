// A message as a tree of names and values. Where only values changed, only they are written anew:
// what has the focus keeps it. Owns how much of a message is shown.

import { el, say } from "../shared/dom.js";

const NODES_MAX = 600;
const DEPTH_MAX = 10;
const TEXT_MAX = 2_000;

export class Tree {
  #shape = "";
  #values: HTMLElement[] = [];
  #buttons = new Map<string, HTMLButtonElement>();

  /** `chosen` is called with the path of a number that is to be shown over time, or no longer. */
  constructor(readonly element: HTMLElement, readonly chosen: (path: string) => void) {}

  show(value: unknown, is_charted: (path: string) => boolean): void {
    const leaves: Leaf[] = [];
    const shape = shapeOf(value, "", leaves, 0);
    if (shape !== this.#shape) this.#build(value);
    this.#shape = shape;
    leaves.forEach((leaf, at) => {
      const element = this.#values[at];
      if (!element) return;
      say(element, leaf.text);
      element.className = leaf.kind;
    });
    for (const [path, button] of this.#buttons) {
      button.setAttribute("aria-pressed", `${is_charted(path)}`);
    }
  }

  clear(): void {
    this.#shape = "";
    this.#values = [];
    this.#buttons.clear();
    this.element.replaceChildren();
  }

  #build(value: unknown): void {
    this.clear();
    const list = el("ul");
    this.#add(list, undefined, value, "", 0);
    this.element.replaceChildren(list);
  }

  #add(
    list: HTMLElement, name: string | undefined, value: unknown, path: string, depth: number,
  ): void {
    if (this.#values.length >= NODES_MAX) return;
    const item = el("li");
    if (name !== undefined) item.append(el("span.name", {}, `${name}: `));
    list.append(item);
    const inner = entries(value, depth);
    if (!inner) {
      const shown = el("span");
      this.#values.push(shown);
      item.append(shown);
      if (typeof value === "number") item.append(this.#button(path || "value"));
      return;
    }
    const nested = name === undefined ? list : el("ul");
    if (name === undefined) item.remove();
    else item.append(nested);
    for (const [key, part] of inner) {
      this.#add(nested, key, part, path ? `${path}.${key}` : key, depth + 1);
    }
  }

  #button(path: string): HTMLButtonElement {
    const button = el("button", { type: "button", "aria-label": `${path} over time` }, "chart");
    button.addEventListener("click", () => this.chosen(path));
    this.#buttons.set(path, button);
    return button;
  }
}

interface Leaf { text: string; kind: string }

function entries(value: unknown, depth: number): [string, unknown][] | undefined {
  if (value === null || typeof value !== "object" || depth >= DEPTH_MAX) return undefined;
  const found = Object.entries(value);
  return found.length ? found : undefined;
}

/** Names of a message in their order: what has the same shape needs no new elements. */
function shapeOf(value: unknown, name: string, leaves: Leaf[], depth: number): string {
  if (leaves.length >= NODES_MAX) return "";
  const inner = entries(value, depth);
  if (!inner) {
    leaves.push(leafOf(value));
    return `${name}${typeof value === "number" ? "=" : "-"};`;
  }
  return `${name}{${inner.map(([key, part]) => shapeOf(part, key, leaves, depth + 1)).join("")}}`;
}

function leafOf(value: unknown): Leaf {
  if (typeof value === "number") {
    return { text: `${+value.toPrecision(9)}`.replace(/^-/, "−"), kind: "number" };
  }
  if (typeof value === "string") {
    return { text: value.slice(0, TEXT_MAX) || "(empty)", kind: "text" };
  }
  return { text: JSON.stringify(value)?.slice(0, TEXT_MAX) ?? "", kind: "name" };
}
