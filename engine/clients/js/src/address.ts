// URLs of the server's endpoints, from where the server is. Must not open anything.

import { refuse } from "./settings.js";
import type { TokenSource } from "./types.js";

/** The server's base, as in "https://host/" or "/": endpoints are below it. */
export function baseOf(url: string | URL): URL {
  try {
    const base = new URL(url, globalThis.location?.href);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    if (/^(http|ws)s?:$/.test(base.protocol)) return base;
  } catch {
    // Told below, with what is wanted.
  }
  refuse(`\`url\` must be an http or ws address, not "${url}"`);
}

export function endpoint(
  base: URL, scheme: "http" | "ws", path: string, query: Record<string, string>,
): string {
  const url = new URL(path, base);
  url.protocol = url.protocol.replace(/^(http|ws)/, scheme);
  url.search = `${new URLSearchParams(query)}`;
  return url.href;
}

/** The token for one connection. A renewal on an open connection would ask here as well. */
export async function tokenOf(source: TokenSource | undefined): Promise<string | undefined> {
  return (typeof source === "function" ? await source() : source) || undefined;
}
