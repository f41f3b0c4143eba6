// Long polling as a way to carry a subscription: one plain request after the other, each from where
// the answer before it ended. For where a proxy breaks everything else. Must not know subscriptions.

import { ABNORMAL } from "./closes.js";
import { type Carrier, type CarrierCalls, type StreamRequest, headersOf, refusal }
  from "./sse-carrier.js";
import type { Position } from "./types.js";

/** `wait_ms` is how long a request waits at most: silence for longer than twice that is death. */
export function overPoll(fetch: typeof globalThis.fetch, wait_ms: number): Carrier {
  const open: Carrier["open"] = (request, calls) => {
    const control = new AbortController();
    const { signal } = control;
    const tell = (code: number, reason: string) => signal.aborted || calls.ended(code, reason);
    poll(fetch, request, signal, calls, wait_ms).then(
      ([code, reason]) => tell(code, reason),
      (thrown) => tell(ABNORMAL, String(thrown)),
    );
    return () => control.abort();
  };
  return { ...POLL, open };
}

async function poll(
  fetch: typeof globalThis.fetch, request: StreamRequest, signal: AbortSignal, calls: CarrierCalls,
  wait_ms: number,
): Promise<[code: number, reason: string]> {
  const url = new URL(request.url);
  const headers = headersOf(request.token, "application/json");
  // Where it begins is known at once, whenever the first message comes.
  for (let wait = 0; ; wait = wait_ms) {
    url.searchParams.set("wait", String(wait));
    const answer = await fetch(url.href, { headers, signal, cache: "no-store" });
    if (!answer.ok) return refusal(answer, calls);
    const { records, end } = await answer.json();
    if (signal.aborted) return [ABNORMAL, "ended"];
    if (wait === 0) calls.opened();
    calls.heard();
    if (!records.length) calls.placed(positionOf(end.next));
    for (const record of records) {
      calls.event(eventOf(record));
      if (signal.aborted) return [ABNORMAL, "ended"]; // by whoever was handed it
    }
    url.searchParams.set("from", end.next);
  }
}

/** What an event stream would say of it. */
function eventOf({ gap, topic, epoch, seq, data, data64, text }: any) {
  if (gap) return { type: "gap", data: JSON.stringify(gap), id: "" };
  const id = `${epoch}-${seq}`;
  if (data64 !== undefined) return { type: "binary", data: data64, id, topic };
  return { type: "message", data: text ? data : JSON.stringify(data), id, topic };
}

function positionOf(next: string): Position {
  const [epoch, seq] = next.split("-");
  return { epoch: epoch!, seq: Number(seq) };
}

const POLL = {
  protocol: "poll", path: "v1/poll/", tells_heartbeats: true, tells_topics: true,
  takes_options: false,
};
