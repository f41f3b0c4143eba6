// What the wall shows: options of the address, or of a JSON layout. Owns the syntax of both, and
// what is said of a wrong one. Must not make tiles.

export const KINDS = [
  "dial", "frequency", "rocof", "ticks", "missing", "number", "gauge", "sparkline", "series",
] as const;
export type Kind = (typeof KINDS)[number];

/** A tile as it is asked for. */
export interface TileSpec {
  kind: Kind;
  topic?: string;
  field?: string;
  label?: string;
  unit?: string;
  min?: number;
  max?: number;
  digits?: number;
  /** How long values count as new. */
  stale?: number;
  w: number;
  h: number;
}

export interface Layout {
  title: string;
  topics: string[];
  ticks: string;
  rate: number;
  minutes: number;
  tiles: TileSpec[];
}

const SIZES: Record<Kind, [w: number, h: number]> = {
  dial: [4, 2], frequency: [8, 2], rocof: [8, 1], ticks: [8, 1], missing: [4, 2],
  number: [2, 1], gauge: [3, 1], sparkline: [3, 1], series: [6, 2],
};
const NEED_TOPIC: Kind[] = ["number", "gauge", "sparkline", "series"];
const TILE_OPTIONS = [
  "kind", "topic", "field", "label", "unit", "min", "max", "digits", "stale", "w", "h",
];
const TILES_MAX = 64;

const USUAL: Layout = {
  title: "Grid",
  topics: ["pmu/#"],
  ticks: "align/#",
  rate: 30,
  minutes: 5,
  tiles: ["dial", "frequency", "missing", "rocof", "ticks"].map((kind) => tileOf({ kind })),
};

/** The layout of the address. */
export function ofAddress(options: URLSearchParams): Layout {
  const said: Record<string, unknown> = {};
  for (const name of ["title", "ticks", "rate", "minutes"]) {
    if (options.has(name)) said[name] = options.get(name);
  }
  if (options.has("topics")) said.topics = options.getAll("topics").flatMap((t) => t.split(","));
  if (options.has("tile")) said.tiles = options.getAll("tile").map(pairsOf);
  return ofJson(said);
}

/** The layout that a JSON object says; the usual where it says nothing. */
export function ofJson(said: unknown): Layout {
  if (!isObject(said)) throw new Error("a layout is a JSON object");
  known(said, ["title", "topics", "ticks", "rate", "minutes", "tiles"], "layout");
  const { tiles } = said;
  if (tiles !== undefined && !Array.isArray(tiles)) throw new Error("tiles: a list");
  if (tiles && tiles.length > TILES_MAX) throw new Error(`tiles: ${TILES_MAX} at most`);
  return {
    title: textOf(said, "title") ?? USUAL.title,
    topics: topicsOf(said.topics) ?? USUAL.topics,
    ticks: textOf(said, "ticks") ?? USUAL.ticks,
    rate: numberOf(said, "rate", 1, 1000) ?? USUAL.rate,
    minutes: numberOf(said, "minutes", 0.5, 1440) ?? USUAL.minutes,
    tiles: tiles?.map(tileOf) ?? USUAL.tiles,
  };
}

/** "gauge,topic=plant/1,field=mw" as an object. */
function pairsOf(text: string): Record<string, string> {
  const [kind, ...pairs] = text.split(",");
  const found: Record<string, string> = { kind };
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`tile ${kind}: "${pair}" is not written option=value`);
    found[pair.slice(0, at)] = decoded(pair.slice(at + 1));
  }
  return found;
}

// A comma in a value is written %2C, twice encoded in an address.
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function tileOf(said: unknown): TileSpec {
  if (!isObject(said)) throw new Error("a tile is a JSON object");
  const kind = said.kind as Kind;
  if (!KINDS.includes(kind)) throw new Error(`tile: kind is one of ${KINDS.join(", ")}`);
  known(said, TILE_OPTIONS, `tile ${kind}`);
  const [w, h] = SIZES[kind];
  const spec: TileSpec = {
    kind, w: numberOf(said, "w", 1, 12) ?? w, h: numberOf(said, "h", 1, 4) ?? h,
    topic: textOf(said, "topic"), field: textOf(said, "field"), label: textOf(said, "label"),
    unit: textOf(said, "unit"), min: numberOf(said, "min"), max: numberOf(said, "max"),
    digits: numberOf(said, "digits", 0, 9), stale: numberOf(said, "stale", 1, 86_400),
  };
  if (NEED_TOPIC.includes(kind) && !spec.topic) throw new Error(`tile ${kind}: needs a topic`);
  return spec;
}

function known(said: object, names: string[], where: string): void {
  const other = Object.keys(said).find((name) => !names.includes(name));
  if (other) throw new Error(`${where}: unknown option "${other}"; there are ${names.join(", ")}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(said: Record<string, unknown>, name: string): string | undefined {
  const value = said[name];
  if (value === undefined || typeof value === "string") return value;
  throw new Error(`${name}: a text`);
}

function topicsOf(value: unknown): string[] | undefined {
  if (value === undefined) return undefined;
  const topics = Array.isArray(value) ? value : [value];
  if (topics.every((topic) => typeof topic === "string" && topic !== "")) return topics;
  throw new Error("topics: texts");
}

function numberOf(
  said: Record<string, unknown>, name: string, least = -Infinity, most = Infinity,
): number | undefined {
  const value = said[name];
  if (value === undefined) return undefined;
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number === "number" && number >= least && number <= most) return number;
  const range = Number.isFinite(least) ? ` from ${least} to ${most}` : "";
  throw new Error(`${name}: a number${range}`);
}
