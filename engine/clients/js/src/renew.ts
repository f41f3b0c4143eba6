// Tokens over an open connection: what `@gridcast/client/renew` exports. A socket that replaces its
// token before it ends, and may bring the first one as a message, so that it stands in no URL. Must
// not know subscriptions; where renewing fails, the client connects again as without it.

import { type Clock, clockOf } from "./clock.js";
import { refuse } from "./settings.js";
import type { ClientOptions, SocketClass, Token } from "./types.js";

export interface RenewOptions {
  /** Sends the token as the first message; needs `auth.first_message_ms` at the server. */
  first_message?: boolean;
  /** Default: the global one. On Node 20, that of `ws`. */
  WebSocket?: SocketClass;
  /** Time and timers; for tests. */
  clock?: Partial<Clock>;
}

/** Options of a client that asks `token` before each connect, and again before a JSON Web Token
 * ends. */
export function renewing(
  token: () => Token | Promise<Token>, { first_message, WebSocket, clock: given }: RenewOptions = {},
): Pick<ClientOptions, "token" | "WebSocket"> {
  const clock = clockOf(given);
  const Socket = WebSocket ?? globalThis.WebSocket ?? refuse("no WebSocket here: pass one");
  class Renewing extends (Socket as SocketClass) {
    constructor(url: string, protocols: string[]) {
      const address = new URL(url);
      const first = address.searchParams.get("token");
      if (first_message) address.searchParams.delete("token");
      super(address.href, protocols);
      const socket = this as unknown as OpenSocket;
      if (!first) return;
      let timer: unknown;
      const send = (text: string) => socket.send(JSON.stringify({ id: ID, auth: { token: text } }));
      const schedule = (current: string) => {
        const left_ms = endOf(current) - clock.now();
        if (left_ms > LEAST_MS) {
          const delay_ms = Math.min(left_ms * SHARE, MOST_MS);
          timer = clock.setTimeout(() => void renew(current), delay_ms);
        }
      };
      const renew = async (current: string) => {
        const next = await Promise.resolve().then(token).catch(() => undefined);
        if (socket.readyState !== OPEN) return;
        if (next) send(next);
        // One that could not be had is asked for again, while there is time.
        schedule(next || current);
      };
      socket.addEventListener("open", () => {
        if (first_message) send(first);
        schedule(first);
      });
      socket.addEventListener("close", () => clock.clearTimeout(timer));
    }
  }
  return { token, WebSocket: Renewing };
}

interface OpenSocket {
  readyState: number;
  send(text: string): void;
  addEventListener(event: "open" | "close", listener: () => void): void;
}

/** When a JSON Web Token ends, in ms since 1970; no number where it does not say. */
function endOf(token: string): number {
  try {
    const claims = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(atob(claims)).exp * 1000;
  } catch {
    return NaN;
  }
}

// No publish and no topic has it: a refusal is the server's to log, and changes nothing.
const ID = 0;
const OPEN = 1;
// Of its time, before a token is replaced: what is left is for an identity provider that is slow.
const SHARE = 0.8;
const LEAST_MS = 500;
const MOST_MS = 86_400_000;
