// Reads the text of /metrics, and finds rates between two readings. Must not know any metric.

export interface Sample { labels: Record<string, string>; value: number }

export class Reading {
  readonly #families = new Map<string, Sample[]>();

  /** `at_ms` is any clock that does not jump. */
  constructor(text: string, readonly at_ms: number) {
    for (const line of text.split("\n")) {
      const parts = LINE.exec(line);
      if (!parts) continue;
      const [, name, labels, value] = parts;
      const known = this.#families.get(name) ?? [];
      known.push({ labels: labelsOf(labels), value: Number(value) });
      this.#families.set(name, known);
    }
  }

  samples(name: string): Sample[] {
    return this.#families.get(name) ?? [];
  }

  names(): Iterable<string> {
    return this.#families.keys();
  }

  /** The sum of those that have these labels. */
  sum(name: string, labels: Record<string, string> = {}): number {
    const wanted = Object.entries(labels);
    return this.samples(name)
      .filter((sample) => wanted.every(([key, value]) => sample.labels[key] === value))
      .reduce((sum, { value }) => sum + value, 0);
  }
}

/** How much a counter grew a second; NaN where there is no reading before, or it began anew. */
export function rate(
  now: Reading, before: Reading | undefined, name: string, labels: Record<string, string> = {},
): number {
  if (!before) return NaN;
  const grown = now.sum(name, labels) - before.sum(name, labels);
  return grown < 0 ? NaN : grown / ((now.at_ms - before.at_ms) / 1000);
}

/** The bound below which this share of what a histogram counted between two readings lies. */
export function quantile(
  now: Reading, before: Reading | undefined, name: string, share: number,
): number {
  const earlier = new Map(before?.samples(`${name}_bucket`).map((s) => [s.labels.le, s.value]));
  const buckets = now.samples(`${name}_bucket`).map(({ labels, value }) => (
    { bound: labels.le === "+Inf" ? Infinity : Number(labels.le),
      count: value - (earlier.get(labels.le) ?? 0) }));
  const all = buckets.at(-1)?.count ?? 0;
  if (all <= 0) return NaN;
  return buckets.find(({ count }) => count >= all * share)?.bound ?? NaN;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

function labelsOf(text: string | undefined): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, name, value] of (text ?? "").matchAll(LABEL)) {
    found[name] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
  }
  return found;
}
