// The life of the page around a client: network back, hidden, shown, left, kept for going back.
// Tells it; must not know connections.

import type { Settings } from "./settings.js";
import type { Page } from "./types.js";

export interface PageCalls {
  /** Whatever there is may be out of date: look, or connect. */
  check(): void;
  /** Let go of the connection. */
  pause(): void;
}

/** The page that this code runs in, if it is one. */
export function pageHere(): Page | undefined {
  return typeof document === "undefined" ? undefined : { window: globalThis as any, document };
}

/** Answers a function that stops watching. */
export function watchPage(
  { window, document }: Page, { clock, pause_hidden_ms }: Settings, { check, pause }: PageCalls,
): () => void {
  const is_hidden = () => document.visibilityState === "hidden";
  const back = () => (is_hidden() && pause_hidden_ms < Infinity) || check();
  let timer: unknown;
  const turned = () => {
    clock.clearTimeout(timer);
    if (!is_hidden()) check();
    else if (pause_hidden_ms < Infinity) timer = clock.setTimeout(pause, pause_hidden_ms);
  };
  // An open socket keeps a page out of the cache for going back, so it goes with the page.
  const watched: [EventTarget, string, () => void][] = [
    [window, "online", back],
    [window, "pageshow", check],
    [window, "pagehide", pause],
    [document, "visibilitychange", turned],
  ];
  for (const [target, event, run] of watched) target.addEventListener(event, run);
  return () => {
    clock.clearTimeout(timer);
    for (const [target, event, run] of watched) target.removeEventListener(event, run);
  };
}
