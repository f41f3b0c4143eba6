// The colours of the page, read from its style sheet, which owns them, so that canvases follow dark
// and light.

export interface Colours {
  ink: string; soft: string; faint: string; line: string; paper: string; card: string;
  accent: string; good: string; warn: string; bad: string;
}

const NAMES: (keyof Colours)[] = [
  "ink", "soft", "faint", "line", "paper", "card", "accent", "good", "warn", "bad",
];
/** Told apart by most people who see few colours, on dark and on light. */
const LINES = 8;

let current: Colours | undefined;
let lines: string[] = [];
const listeners: (() => void)[] = [];

export function colours(): Colours {
  return current ??= read();
}

/** The colour of line `index` of a chart. */
export function lineColour(index: number): string {
  colours();
  return lines[index % LINES];
}

/** Calls back when the scheme has changed. */
export function onScheme(told: () => void): void {
  listeners.push(told);
}

/** Sets the scheme, whatever the system prefers. */
export function setScheme(scheme: string | undefined): void {
  if (scheme === "dark" || scheme === "light") document.documentElement.dataset.scheme = scheme;
}

function read(): Colours {
  const style = getComputedStyle(document.documentElement);
  lines = Array.from({ length: LINES }, (_, at) => style.getPropertyValue(`--line-${at}`).trim());
  const found = NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]);
  return Object.fromEntries(found) as unknown as Colours;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  current = undefined;
  listeners.forEach((told) => told());
});
