// The event stream of one subscription: opened, watched, opened again after a break. Must not know
// how a stream is read, or what a client does with others.

import { endpoint, tokenOf } from "./address.js";
import { Backoff } from "./backoff.js";
import { ABNORMAL, afterClose } from "./closes.js";
import { fromBase64, readText } from "./codec.js";
import { GridcastError } from "./errors.js";
import { Pulse } from "./pulse.js";
import type { Settings } from "./settings.js";
import type { Carrier } from "./sse-carrier.js";
import type { StreamEvent } from "./sse-parser.js";
import type { Subscription } from "./subscription.js";
import type { Closed, Position, State } from "./types.js";

export interface StreamHost {
  base: URL;
  settings: Settings;
  heartbeat_ms: number;
  carrier: Carrier;
  turned(): void;
  closed(told: Closed): void;
  /** For good. */
  refused(subscription: Subscription): void;
}

export class SseStream {
  state: State = "idle";
  #host: StreamHost;
  #subscription: Subscription;
  #backoff: Backoff;
  #pulse: Pulse | undefined;
  #timer: unknown;
  #attempt = 0;
  #leave: (() => void) | undefined;
  #retry_ms: number | undefined;
  /** Comments since the stream began: it begins with one, before a gap that there may be. */
  #comments = 0;
  #has_begun = false;

  constructor(host: StreamHost, subscription: Subscription) {
    this.#host = host;
    this.#subscription = subscription;
    this.#backoff = new Backoff(host.settings);
  }

  async connect(): Promise<void> {
    this.stop("connecting");
    if (this.state !== "connecting") return; // closed by who was told of it
    const attempt = this.#attempt;
    const { clock, connect_timeout_ms, token } = this.#host.settings;
    const late = () => this.#ended(ABNORMAL, `not connected within ${connect_timeout_ms} ms`);
    this.#timer = clock.setTimeout(late, connect_timeout_ms);
    try {
      const found = await tokenOf(token);
      if (attempt === this.#attempt) this.#open(found);
    } catch (thrown) {
      if (attempt === this.#attempt) this.#ended(ABNORMAL, String(thrown));
    }
  }

  /** Ends what there is. */
  stop(state: State): void {
    this.#attempt++;
    this.#host.settings.clock.clearTimeout(this.#timer);
    this.#leave?.();
    this.#leave = undefined;
    this.#pulse?.stop();
    this.#pulse = undefined;
    if (this.#subscription.state === "active") this.#subscription.state = "pending";
    this.#set(state);
  }

  check(): void {
    if (this.state === "waiting" || this.state === "paused") void this.connect();
  }

  #open(token: string | undefined): void {
    const { topic, options } = this.#subscription;
    const { carrier, base } = this.#host;
    const { mode, rate, lag } = carrier.takes_options ? options : {};
    const from = this.#subscription.from();
    const query = Object.entries({ from, mode, rate, lag }).filter(([, value]) => value != null);
    const path = carrier.path + encodeTopic(topic);
    const asked = Object.fromEntries(query.map(([key, value]) => [key, String(value)]));
    const url = endpoint(base, "http", path, asked);
    this.#leave = carrier.open({ url, token }, {
      opened: () => this.#opened(),
      heard: () => this.#pulse?.heard(),
      placed: (position) => this.#whole(position),
      comment: () => this.#comment(),
      retry: (delay_ms) => (this.#retry_ms = delay_ms),
      event: (event) => this.#event(event),
      ended: (code, reason) => this.#ended(code, reason),
    });
  }

  #opened(): void {
    const { clock } = this.#host.settings;
    clock.clearTimeout(this.#timer);
    this.#backoff.opened();
    this.#comments = 0;
    this.#pulse = this.#startPulse();
    // A poll tells where it begins.
    const { tells_topics } = this.#host.carrier;
    if (!this.#subscription.position && !tells_topics) this.#beginUnplaced();
    this.#set("open");
  }

  /** A stream cannot be asked whether it lives. */
  #startPulse(): Pulse {
    const { settings, heartbeat_ms, carrier } = this.#host;
    const end = (reason: string) => this.#ended(ABNORMAL, reason);
    const silent = (reason: string) => carrier.tells_heartbeats && end(reason);
    const ask = () => end("the clock jumped: nobody can be asked");
    return new Pulse(settings, heartbeat_ms, ask, silent);
  }

  /** A stream tells no position before its first message: one that broke until then has none to go
   * on from. */
  #beginUnplaced(): void {
    this.#subscription.begun();
    if (this.#has_begun) this.#subscription.missed({ from: 0, to: 0, reason: "unknown" });
    this.#has_begun = true;
  }

  #comment(): void {
    if (++this.#comments > 1) this.#whole(this.#subscription.position);
  }

  /** Something came, and no gap before it. */
  #whole(position: Position | undefined): void {
    if (this.#subscription.state === "pending") this.#subscription.begun(position);
  }

  #event({ type, data, id, topic }: StreamEvent): void {
    if (type === "close") return this.#told(data);
    if (type === "gap") {
      this.#whole(undefined);
      return this.#subscription.missed(JSON.parse(data));
    }
    const [epoch, seq] = id.split("-");
    const before = this.#subscription.position;
    this.#whole(before?.epoch === epoch ? before : undefined);
    const read = () => (type === "binary" ? fromBase64(data) : readText(data));
    this.#subscription.take(topic ?? this.#subscription.topic, Number(seq), read, epoch);
  }

  #told(data: string): void {
    const { code, reason } = JSON.parse(data);
    this.#ended(code, reason);
  }

  #ended(code: number, reason: string): void {
    const reconnect = afterClose(code, this.#host.settings.token);
    if (reconnect === "no") return this.#refused(code, reason);
    const told_ms = reconnect === "now" ? undefined : this.#retry_ms;
    const delay_ms = this.#backoff.next(reconnect, told_ms);
    this.#retry_ms = undefined;
    this.stop("waiting");
    if (this.state !== "waiting") return; // closed by who was told of it
    this.#timer = this.#host.settings.clock.setTimeout(() => void this.connect(), delay_ms);
    this.#host.closed({ code, reason, reconnect, delay_ms });
  }

  #refused(code: number, reason: string): void {
    this.stop("closed");
    this.#host.refused(this.#subscription);
    this.#subscription.failed(new GridcastError(WORDS[code] ?? "closed", reason), "never");
    this.#host.closed({ code, reason, reconnect: "no" });
  }

  #set(state: State): void {
    this.state = state;
    this.#host.turned();
  }
}

export function encodeTopic(topic: string): string {
  return topic.split("/").map(encodeURIComponent).join("/");
}

const WORDS: Record<number, string> = {
  4400: "bad_request", 4401: "unauthorised", 4403: "forbidden",
};
