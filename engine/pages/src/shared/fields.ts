// The numeric fields of a message: their names, as paths, and their values. Owns how many are
// looked for: messages are of any size.

const FIELDS_MAX = 500;
const DEPTH_MAX = 8;

/** Calls `found` with path and value of each number; a boolean counts as 0 or 1. */
export function eachNumber(value: unknown, found: (path: string, value: number) => void): void {
  let left = FIELDS_MAX;
  const walk = (part: unknown, path: string, depth: number): void => {
    if (left <= 0 || depth > DEPTH_MAX) return;
    if (typeof part === "number" || typeof part === "boolean") {
      left--;
      return found(path || "value", Number(part));
    }
    if (part === null || typeof part !== "object" || part instanceof Uint8Array) return;
    for (const [key, inner] of Object.entries(part)) walk(inner, join(path, key), depth + 1);
  };
  walk(value, "", 0);
}

/** The number at a path; NaN where there is none. */
export function numberAt(value: unknown, path: string): number {
  if (path === "" || path === "value") {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof number === "number") return number;
    if (typeof number === "boolean") return Number(number);
  }
  let part: any = value;
  for (const key of path.split(".")) {
    if (part === null || typeof part !== "object") return NaN;
    part = Array.isArray(part) && !(key in part) ? part.find((one) => nameOf(one) === key)
      : part[key];
  }
  return typeof part === "number" || typeof part === "boolean" ? Number(part) : NaN;
}

function nameOf(value: unknown): unknown {
  return value && typeof value === "object" ? (value as { name?: unknown }).name : undefined;
}

function join(path: string, key: string): string {
  return path ? `${path}.${key}` : key;
}
