// The client over Server-Sent Events: a stream for each topic, and publishes by POST, behind the
// same interface as the one over a socket; poll.ts has another carrier. Must not know how a stream
// lives.

import { baseOf } from "./address.js";
import { Emitter } from "./emitter.js";
import { GridcastError, followedAlready } from "./errors.js";
import { pageHere, watchPage } from "./page.js";
import { type Settings, refuse, settingsOf, within } from "./settings.js";
import { type Carrier, overEventSource, overFetch } from "./sse-carrier.js";
import { publishByPost } from "./sse-publish.js";
import { SseStream, type StreamHost } from "./sse-stream.js";
import { type Host, Subscription } from "./subscription.js";
import type {
  AnyTopics, ClientEvents, ClientOptions, Feed, FeedClient, Handler, Payload, PublishOptions,
  Published, State, SubscribeOptions,
} from "./types.js";

export interface SseOptions extends Omit<ClientOptions, "WebSocket" | "protocols"> {
  /** The server's `keepalive.heartbeat_ms`, which a stream does not tell. */
  heartbeat_ms?: number;
  /** Default: `fetch` where answers can be read as they come. */
  carrier?: "fetch" | "eventsource" | Carrier;
  fetch?: typeof fetch;
  EventSource?: typeof EventSource;
}

export class SseClient<M = AnyTopics> implements FeedClient<M> {
  #base: URL;
  #settings: Settings;
  #fetch: typeof fetch;
  #events = new Emitter<ClientEvents>();
  #streams = new Map<Subscription, SseStream>();
  #host: Host;
  #stream_host: StreamHost;
  #state: State = "idle";
  #leavePage: (() => void) | undefined;

  constructor(url: string | URL, options: SseOptions = {}) {
    const settings = this.#settings = settingsOf(options, OTHERS);
    const heartbeat_ms = within("heartbeat_ms", options.heartbeat_ms ?? 15_000, 100, 86_400_000);
    this.#base = baseOf(url);
    this.#fetch = options.fetch ?? ((...asked) => fetch(...asked));
    this.#host = { clock: settings.clock, events: this.#events, ended: (one) => this.#end(one) };
    this.#stream_host = {
      base: this.#base, settings, heartbeat_ms,
      carrier: carrierOf(options, this.#fetch),
      turned: () => this.#turned(),
      closed: (told) => this.#events.emit("close", told),
      refused: (subscription) => this.#streams.delete(subscription),
    };
  }

  get state(): State {
    return this.#state;
  }

  on<E extends keyof ClientEvents>(
    event: E, listener: (told: ClientEvents[E]) => void,
  ): () => void {
    return this.#events.on(event, listener);
  }

  subscribe<T extends string>(
    topic: T, handler: Handler<Payload<M, T>>, options: SubscribeOptions = {},
  ): Feed {
    if (/[+#]/.test(topic) && !this.#stream_host.carrier.tells_topics) {
      refuse(`"${topic}": an event stream does not tell topics of a pattern`);
    }
    if ([...this.#streams.keys()].some((followed) => followed.topic === topic)) {
      throw followedAlready(topic);
    }
    const subscription = new Subscription(this.#host, topic, handler, options);
    const stream = new SseStream(this.#stream_host, subscription);
    this.#streams.set(subscription, stream);
    this.#watch();
    if (this.#state !== "closed" && this.#state !== "paused") void stream.connect();
    return subscription;
  }

  async publish<T extends string>(
    topic: T, data: Payload<M, T>, options: PublishOptions = {},
  ): Promise<Published> {
    if (this.#state === "closed") throw new GridcastError("not_sent", "the client is closed");
    return publishByPost(this.#base, this.#fetch, this.#settings, topic, data, options);
  }

  connect(): void {
    if (this.#state === "closed") this.#set("idle");
    this.#watch();
    for (const stream of this.#streams.values()) {
      if (stream.state !== "open" && stream.state !== "connecting") void stream.connect();
    }
  }

  close(): void {
    this.#set("closed");
    this.#streams.forEach((stream) => stream.stop("closed"));
    this.#leavePage?.();
    this.#leavePage = undefined;
  }

  #watch(): void {
    const page = this.#settings.page ?? pageHere();
    if (!page || this.#leavePage || this.#state === "closed") return;
    this.#leavePage = watchPage(page, this.#settings, {
      check: () => this.#streams.forEach((stream) => stream.check()),
      pause: () => this.#streams.forEach((stream) => stream.stop("paused")),
    });
  }

  #end(subscription: Subscription): void {
    this.#streams.get(subscription)?.stop("closed");
    this.#streams.delete(subscription);
    this.#turned();
  }

  /** The state of a client with many streams is that of the one that is furthest from open. */
  #turned(): void {
    if (this.#state === "closed") return;
    const states = [...this.#streams.values()].map((stream) => stream.state);
    this.#set(WORST_FIRST.find((state) => states.includes(state)) ?? "idle");
  }

  #set(state: State): void {
    const previous = this.#state;
    this.#state = state;
    if (state === previous) return;
    this.#events.emit("state", { state, previous });
    const { protocol } = this.#stream_host.carrier;
    if (state === "open") this.#events.emit("open", { protocol });
  }
}

function carrierOf(options: SseOptions, fetch: typeof globalThis.fetch): Carrier {
  if (typeof options.carrier === "object") return options.carrier;
  const can_stream = typeof ReadableStream === "function";
  if (options.carrier !== "eventsource" && can_stream) return overFetch(fetch);
  return overEventSource(options.EventSource ?? EventSource);
}

const WORST_FIRST: State[] = ["waiting", "connecting", "paused", "open"];
const OTHERS = ["token", "page", "clock", "heartbeat_ms", "carrier", "fetch", "EventSource"];
