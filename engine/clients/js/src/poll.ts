// The client over long polling, the last resort: what `@gridcast/client/poll` exports. Owns what is
// different from event streams, whose client it is otherwise. Must not ask for anything itself.

import { overPoll } from "./poll-carrier.js";
import { within } from "./settings.js";
import { SseClient, type SseOptions } from "./sse.js";
import type { AnyTopics } from "./types.js";

export interface PollOptions extends Omit<SseOptions, "carrier" | "EventSource" | "heartbeat_ms"> {
  /** How long a request waits for a message, at most the server's `poll.wait_ms_max`. */
  wait_ms?: number;
}

export class PollClient<M = AnyTopics> extends SseClient<M> {
  constructor(url: string | URL, { wait_ms = 20_000, ...options }: PollOptions = {}) {
    within("wait_ms", wait_ms, 100, 600_000);
    const fetch = options.fetch ?? ((...asked) => globalThis.fetch(...asked));
    super(url, { ...options, heartbeat_ms: wait_ms, carrier: overPoll(fetch, wait_ms) });
  }
}
