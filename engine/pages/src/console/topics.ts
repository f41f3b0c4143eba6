// The list of topics: searched, paged, looked at again each second. Owns which page is shown.

import type { Client } from "../../../clients/js/src/index.js";
import { byId, el, say, show } from "../shared/dom.js";
import { age, bytes, fixed, short } from "../shared/format.js";
import { at } from "../shared/place.js";
import { peek } from "../shared/peek.js";
import { preview } from "../shared/reading.js";
import { ask } from "./server.js";
import type { Look } from "./look.js";

interface Topic {
  topic: string; epoch: string; seq: number; time_ms: number | null; rate_per_s: number;
  messages: number; bytes: number; subscribers: number;
}

interface Page { topics: Topic[]; next: string | null }

const ROWS = 40;
/** Answers that may be empty one after the other: each is of 4,096 topics that were searched. */
const ANSWERS_MAX = 32;
const PREVIEWS_AT_ONCE = 8;
const PREVIEW_MS = 2_000;

export class Topics {
  #client: Client;
  #look: Look;
  #search = "";
  #after = "";
  #next: string | null = null;
  #rows = new Map<string, Row>();
  #previewed_ms = 0;

  constructor(client: Client, look: Look) {
    this.#client = client;
    this.#look = look;
    const field = byId<HTMLInputElement>("search");
    byId("search-form").addEventListener("submit", (event) => event.preventDefault());
    field.addEventListener("input", () => this.#go(field.value.trim(), ""));
    byId("first").addEventListener("click", () => this.#go(this.#search, ""));
    byId("next").addEventListener("click", () => this.#next && this.#go(this.#search, this.#next));
  }

  #go(search: string, after: string): void {
    this.#search = search;
    this.#after = after;
    void this.refresh().catch(() => {}); // The next one tells.
  }

  async refresh(): Promise<void> {
    const [search, after] = [this.#search, this.#after];
    const page = await this.#ask(search, after);
    if (search !== this.#search || after !== this.#after) return;
    this.#next = page.next;
    this.#show(page);
    if (performance.now() - this.#previewed_ms > PREVIEW_MS) void this.#preview();
  }

  async #ask(search: string, after: string): Promise<Page> {
    const found: Topic[] = [];
    let next: string | null = after;
    for (let left = ANSWERS_MAX; left > 0 && found.length < ROWS && next !== null; left--) {
      const limit = `${ROWS - found.length}`;
      const wanted = { ...(search && { search }), ...(next && { after: next }) };
      const query = new URLSearchParams({ limit, ...wanted });
      const page: Page = await (await ask(at(`v1/admin/topics?${query}`))).json();
      found.push(...page.topics);
      next = page.next;
      if (search !== this.#search || after !== this.#after) break;
    }
    return { topics: found, next };
  }

  #show({ topics, next }: Page): void {
    const body = byId("rows");
    const shown = new Set(topics.map(({ topic }) => topic));
    for (const [topic, row] of this.#rows) {
      if (shown.has(topic)) continue;
      row.element.remove();
      this.#rows.delete(topic);
    }
    topics.forEach((topic, index) => {
      const row = this.#rows.get(topic.topic) ?? this.#add(topic.topic);
      const there = body.children[index] ?? null;
      if (there !== row.element) body.insertBefore(row.element, there);
      row.show(topic, topic.topic === this.#look.topic);
    });
    show(byId("no-topics"), topics.length === 0);
    say(byId("listed"), `${topics.length} shown${next === null ? "" : ", and there are more"}`);
    byId<HTMLButtonElement>("next").disabled = next === null;
    byId<HTMLButtonElement>("first").disabled = this.#after === "";
  }

  #add(topic: string): Row {
    const row = new Row(topic, () => {
      this.#look.open(topic);
      byId<HTMLInputElement>("publish-topic").value = topic;
      void this.refresh().catch(() => {}); // The next one tells.
    });
    this.#rows.set(topic, row);
    return row;
  }

  /** The newest messages of the rows that have newer ones: asked for once each, not followed. */
  async #preview(): Promise<void> {
    this.#previewed_ms = Infinity;
    const rows = [...this.#rows.values()].filter((row) => row.is_stale);
    const one = async (): Promise<void> => {
      for (let row = rows.shift(); row; row = rows.shift()) {
        if (this.#client.state !== "open") return;
        const is_looked_at = row.topic === this.#look.topic;
        row.preview(is_looked_at ? this.#look.newest : await peek(this.#client, row.topic));
      }
    };
    await Promise.all(Array.from({ length: PREVIEWS_AT_ONCE }, () => one().catch(() => {})));
    this.#previewed_ms = performance.now();
  }
}

class Row {
  readonly element: HTMLTableRowElement;
  #cells: HTMLElement[];
  #preview = el("td.preview.mono");
  #place = "";
  #previewed = "";

  constructor(readonly topic: string, open: () => void) {
    this.#cells = Array.from({ length: 5 }, () => el("td.n"));
    const button = el("button.mono", { type: "button", title: topic }, topic);
    button.addEventListener("click", open);
    this.element = el("tr", {}, el("td", {}, button), this.#preview, ...this.#cells);
  }

  get is_stale(): boolean {
    return this.#place !== this.#previewed;
  }

  show(topic: Topic, is_looked_at: boolean): void {
    this.#place = topic.time_ms === null ? "" : `${topic.epoch}-${topic.seq}`;
    const cells = [
      fixed(topic.rate_per_s, topic.rate_per_s < 100 ? 1 : 0),
      topic.time_ms === null ? "never" : age(Date.now() - topic.time_ms),
      `${topic.seq}`,
      `${short(topic.messages)} · ${bytes(topic.bytes)}`,
      short(topic.subscribers),
    ];
    cells.forEach((text, at) => say(this.#cells[at], text));
    this.element.setAttribute("aria-current", `${is_looked_at}`);
  }

  preview(data: unknown): void {
    this.#previewed = this.#place;
    if (data !== undefined) say(this.#preview, preview(data));
  }
}
