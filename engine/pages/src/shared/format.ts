// Numbers, sizes and times as people read them. Must not touch the page.

const NARROW = "\u202f";
const PREFIXES: [number, string][] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three digits, or as many as a whole number has. */
function digits(value: number): string {
  return Math.abs(value) < 999.5 ? value.toPrecision(3) : `${Math.round(value)}`;
}

/** 1 234 567 as "1.23 M"; below 10,000 the whole number. */
export function short(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size < 10_000) return grouped(size < 10 ? +value.toFixed(2) : Math.round(value));
  const [unit, prefix] = PREFIXES.find(([least]) => size >= least)!;
  return `${digits(value / unit)}${NARROW}${prefix}`;
}

export function grouped(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: 3 });
}

export function bytes(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  const [unit, name] = ([[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]] as const)
    .find(([least]) => value >= least) ?? [1, "B"];
  const scaled = value / unit;
  return `${unit === 1 ? Math.round(scaled) : digits(scaled)} ${name}`;
}

export function seconds(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  if (value < 1e-3) return `${digits(value * 1e6)} µs`;
  if (value < 1) return `${digits(value * 1e3)} ms`;
  if (value < 120) return `${digits(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172_800 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86_400).toFixed(1)} d`;
}

/** How long ago, in few characters. */
export function age(ms: number): string {
  if (ms < 1500) return "now";
  if (ms < 60_000) return `${Math.round(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min ago`;
  return `${Math.round(ms / 3_600_000)} h ago`;
}

/** A number with so many digits behind the point; "–" for none. */
export function fixed(value: number | undefined | null, digits: number): string {
  return value === undefined || value === null || !Number.isFinite(value) ? "–"
    : value.toFixed(digits).replace(/^-/, "−");
}

/** As many digits as a range needs to be read. */
export function digitsFor(least: number, most: number): number {
  const span = Math.abs(most - least) || 1;
  return Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(span))));
}

export function utc(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}
