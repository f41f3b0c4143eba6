// The table of close codes (docs/protocol.md): whether to connect again after each, and when. Must
// not wait or connect.

import type { Reconnect, TokenSource } from "./types.js";

const NO = [1000, 1002, 1003, 1007, 1009, 4400, 4401, 4403];
const NOW = [4408, 4409];

/** What a browser says of a connection that ended without a close, and we of one we gave up. */
export const ABNORMAL = 1006;

const DRAINING = 1001;
const UNAUTHORISED = 4401;

/** Codes that the table does not have are of proxies and networks: these pass. A token that has
 * expired can be replaced only where somebody is asked for it. */
export function afterClose(code: number, token: TokenSource | undefined): Reconnect {
  if (code === UNAUTHORISED && typeof token === "function") return "now";
  if (NO.includes(code)) return "no";
  return NOW.includes(code) ? "now" : "later";
}

/** The delay that a draining server asks for, in its reason. */
export function delayTold(code: number, reason: string): number | undefined {
  const told = code === DRAINING && /\d+/.exec(reason);
  return told ? +told[0] : undefined;
}
