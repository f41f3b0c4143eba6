// The two ways to read an event stream: fetch, which sees comments and can send a token in a
// header, and EventSource, for where answers cannot be read as they come. Each tells its end once
// and does not come back by itself. Must not know subscriptions.

import { ABNORMAL } from "./closes.js";
import { type ParserCalls, SseParser } from "./sse-parser.js";
import type { Position } from "./types.js";

export interface CarrierCalls extends ParserCalls {
  opened(): void;
  /** Anything came. */
  heard(): void;
  /** Nothing is missing up to here, and nothing has come yet. */
  placed(position: Position): void;
  ended(code: number, reason: string): void;
}

export interface StreamRequest {
  /** Without the token. The position stands in it: as a header, a browser would ask for leave. */
  url: string;
  token: string | undefined;
}

export interface Carrier {
  /** What it is called where a client says that it is open. */
  protocol: string;
  /** Where a subscription is asked for, below the server's base. */
  path: string;
  /** Whether each message of a pattern tells its topic. */
  tells_topics: boolean;
  /** Whether it may be asked for `mode`, `rate` and `lag`. */
  takes_options: boolean;
  /** Whether it tells of heartbeats: if not, silence says nothing. */
  tells_heartbeats: boolean;
  /** Answers a function that ends the stream without a word. */
  open(request: StreamRequest, calls: CarrierCalls): () => void;
}

export function overFetch(fetch: typeof globalThis.fetch): Carrier {
  const open: Carrier["open"] = (request, calls) => {
    const control = new AbortController();
    const { signal } = control;
    const tell = (code: number, reason: string) => signal.aborted || calls.ended(code, reason);
    read(fetch, request, signal, calls).then(
      ([code, reason]) => tell(code, reason),
      (thrown) => tell(ABNORMAL, String(thrown)),
    );
    return () => control.abort();
  };
  return { ...SSE, tells_heartbeats: true, open };
}

async function read(
  fetch: typeof globalThis.fetch, request: StreamRequest, signal: AbortSignal, calls: CarrierCalls,
): Promise<[code: number, reason: string]> {
  const headers = headersOf(request.token, "text/event-stream");
  const answer = await fetch(request.url, { headers, signal, cache: "no-store" });
  if (!answer.ok || !answer.body) return refusal(answer, calls);
  const reader = answer.body.getReader();
  const parser = new SseParser(calls);
  const decoder = new TextDecoder();
  calls.opened();
  for (;;) {
    const { done, value } = await reader.read();
    if (signal.aborted || done) return [ABNORMAL, "the stream ended"];
    calls.heard();
    parser.push(decoder.decode(value, { stream: true }));
  }
}

export function headersOf(token: string | undefined, accept: string): Record<string, string> {
  return { Accept: accept, ...(token && { Authorization: `Bearer ${token}` }) };
}

export async function refusal(
  answer: Response, calls: ParserCalls,
): Promise<[code: number, reason: string]> {
  const after_s = Number(answer.headers.get("Retry-After"));
  if (after_s > 0) calls.retry(after_s * 1000);
  return [closeOf(answer.status), `${answer.status} ${await answer.text()}`];
}

/** The close code that says the same as a status. */
export function closeOf(status: number): number {
  if ([401, 403, 429, 503].includes(status)) return 4000 + status;
  return status >= 400 && status < 500 && status !== 408 ? 4400 : ABNORMAL;
}

export function overEventSource(Source: typeof EventSource): Carrier {
  const open: Carrier["open"] = ({ url, token }, calls) => {
    const whole = new URL(url);
    if (token) whole.searchParams.set("token", token);
    const source = new Source(whole.href);
    const event = ({ type, data, lastEventId }: MessageEvent) => {
      calls.heard();
      calls.event({ type, data, id: lastEventId });
    };
    for (const type of ["message", "binary", "gap", "close"]) source.addEventListener(type, event);
    source.onopen = () => calls.opened();
    source.onerror = () => {
      source.close();
      calls.ended(ABNORMAL, "the stream ended");
    };
    return () => source.close();
  };
  return { ...SSE, tells_heartbeats: false, open };
}

const SSE = { protocol: "sse", path: "v1/feed/", tells_topics: false, takes_options: true };
