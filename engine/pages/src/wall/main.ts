// The wall: reads its layout, follows what its tiles need, and keeps going for weeks. Owns the
// clocks of the page (frames, quarters of a second, slots) and what is said of the connection.

import "uplot/dist/uPlot.min.css";
import "../shared/base.css";
import "./wall.css";
import { Client, type State } from "../../../clients/js/src/index.js";
import { setScheme } from "../shared/colours.js";
import { byId, el, mark, say } from "../shared/dom.js";
import { fixed, utc } from "../shared/format.js";
import { draw } from "../shared/frames.js";
import { BASE, at } from "../shared/place.js";
import { options, tokenHere } from "../shared/token.js";
import { type Layout, type TileSpec, ofAddress, ofJson } from "./layout.js";
import { Pmus, SLOTS } from "./pmus.js";
import { Sources } from "./sources.js";
import { Ticks } from "./ticks.js";
import type { Tile, Wall } from "./tile.js";
import { DialTile } from "./tiles/dial.js";
import { LinesTile } from "./tiles/lines.js";
import { MissingTile } from "./tiles/missing.js";
import { TicksTile } from "./tiles/ticks.js";
import { ValueTile } from "./tiles/value.js";

const WRITTEN_MS = 250;
const NOTE_MS = 5_000;

const asked = options();
setScheme(asked.get("theme") ?? undefined);
const client = new Client(BASE, { token: tokenHere });
const sources = new Sources(client, (text) => say(byId("note"), text));
// What one topic is refused, whoever asked for it tells.
client.on("error", ({ error, topic }) => topic === undefined && say(byId("note"), error.message));
client.on("state", ({ state }) => connection(state));
client.connect();

async function layoutWanted(): Promise<Layout> {
  const [url, topic] = [asked.get("layout"), asked.get("layout-topic")];
  if (url) return ofJson(await (await fetch(at(url))).json());
  return topic ? layoutOf(topic) : ofAddress(asked);
}

/** The layout that a topic holds. Another one begins the page anew: nothing of the old is left. */
function layoutOf(topic: string): Promise<Layout> {
  return new Promise((resolve, reject) => {
    say(byId("note"), `waiting for the layout on ${topic}`);
    let first = "";
    sources.follow(topic, { from: "last" }, ({ data }) => {
      const text = JSON.stringify(data);
      if (first && first !== text) return location.reload();
      first = text;
      try {
        resolve(ofJson(data));
        say(byId("note"), "");
      } catch (thrown) {
        reject(thrown);
      }
    });
  });
}

function tileOf(spec: TileSpec, wall: Wall): Tile {
  switch (spec.kind) {
    case "dial": return new DialTile(spec, wall);
    case "frequency": case "rocof": return new LinesTile(spec, wall);
    case "ticks": return new TicksTile(spec, wall);
    case "missing": return new MissingTile(spec, wall);
    default: return new ValueTile(spec, wall);
  }
}

function begin(layout: Layout): void {
  const pmus = new Pmus(client);
  const ticks = new Ticks();
  const wall: Wall = {
    layout, pmus, ticks, sources,
    choose: (key) => {
      pmus.chosen = key === undefined ? undefined : pmus.all.get(key);
      tiles.forEach((tile) => {
        tile.written?.(performance.now());
        tile.slot?.(NaN);
      });
    },
  };
  const tiles = layout.tiles.map((spec) => tileOf(spec, wall));
  byId("tiles").replaceChildren(...tiles.map(({ element }) => element));
  say(byId("title"), layout.title);
  document.title = `${layout.title} · gridcast wall`;
  followPmus(wall, tiles);
  client.on("state", ({ state, previous }) => {
    if (previous === "open") pmus.lose(performance.now());
    if (state === "open") pmus.excuse(performance.now());
  });
  keepTime(wall, tiles);
}

function followPmus({ layout, pmus, ticks }: Wall, tiles: Tile[]): void {
  const kinds = layout.tiles.map(({ kind }) => kind);
  const fresh = (now_ms: number): void => {
    pmus.settle();
    tiles.forEach((tile) => tile.fresh?.(now_ms));
  };
  if (kinds.some((kind) => ["dial", "frequency", "rocof", "missing", "ticks"].includes(kind))) {
    for (const topic of layout.topics) {
      // Not `mode: "latest"`: of a pattern that is the newest frame, and not that of each topic.
      const options = { rate: layout.rate, lag: "skip-to-latest" } as const;
      sources.follow(topic, options, (message) => {
        pmus.put(message, performance.now());
        draw(fresh);
      });
    }
  }
  if (!kinds.includes("ticks") || !layout.ticks) return;
  sources.follow(layout.ticks, { lag: "skip-to-latest" }, ({ data }) => {
    ticks.take(data);
    if (ticks.newest) pmus.lack(ticks.newest.missing);
    draw(fresh);
  });
}

/** Timers go on in a page that is not seen, if rarely: what was missed meanwhile is a gap. */
function keepTime(wall: Wall, tiles: Tile[]): void {
  const slot_ms = (wall.layout.minutes * 60_000) / SLOTS;
  setInterval(() => {
    const now_ms = performance.now();
    wall.pmus.slot(now_ms, Date.now() / 1000);
    tiles.forEach((tile) => tile.slot?.(now_ms));
  }, slot_ms);
  const { pmus, ticks } = wall;
  const written = (): void => {
    const now_ms = performance.now();
    tiles.forEach((tile) => tile.written?.(now_ms));
    head(wall, now_ms);
  };
  setInterval(() => draw(written), WRITTEN_MS);
  setInterval(() => {
    if (client.state === "open") ticks.second(pmus.mean(performance.now()).heard, pmus.all.size);
  }, 1_000);
}

let noted = "";
let noted_ms = -Infinity;

function head({ pmus, ticks }: Wall, now_ms: number): void {
  const { mean, heard } = pmus.mean(now_ms);
  say(byId("mean"), fixed(mean, 4));
  const more = pmus.left_out ? ", and more than are shown" : "";
  const { size } = pmus.all;
  say(byId("heard"), size ? `${heard} of ${size} PMUs heard${more}` : "no PMU yet");
  say(byId("clock"), utc(Date.now()));
  if (client.state !== "open" || now_ms - noted_ms < NOTE_MS) return;
  const silent = [...pmus.all.values()].filter((pmu) => pmu.state(now_ms) === "missing");
  const names = silent.length ? silent.map(({ name }) => name) : ticks.newest?.missing ?? [];
  const some = names.slice(0, 3).join(", ");
  const text = names.length ? `missing: ${some}${names.length > 3 ? " …" : ""}` : "";
  if (text === noted) return;
  [noted, noted_ms] = [text, now_ms];
  say(byId("note"), text);
}

let lost = "";

function connection(state: State): void {
  const link = byId("link");
  const is_open = state === "open";
  document.body.classList.toggle("wall-stale", !is_open);
  mark(link, "data-state", is_open ? "good" : state === "closed" ? "bad" : "warn");
  if (is_open) lost = "";
  else lost ||= utc(Date.now());
  const closed = "not admitted, or ended by the server";
  say(link, is_open ? "live" : state === "closed" ? closed : `no connection since ${lost}`);
}

layoutWanted().then(begin).catch((reason: unknown) => {
  const text = reason instanceof Error ? reason.message : `${reason}`;
  byId("tiles").replaceChildren(el("p.card.error", { role: "alert" }, `The layout: ${text}`));
});
