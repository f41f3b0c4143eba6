// The public words of the package: messages, events, options. Holds types only: whoever needs a
// value finds it in the file that owns it.

import type { Clock } from "./clock.js";
import type { GridcastError } from "./errors.js";

/** The two objects whose events are heeded. */
export interface Page {
  window: EventTarget;
  document: EventTarget & { readonly visibilityState: string };
}

/** Payload type of each topic; keys may be template types, as in `pmu/${string}`. */
export type AnyTopics = Record<string, any>;

/** What a topic carries: `unknown` where the map does not say. */
export type Payload<M, T extends string> = T extends keyof M ? M[T] : unknown;

/** A place in a topic. Not a counter: nothing is computed from it. */
export interface Position { epoch: string; seq: number }

/** One message. `data` is a JSON value, a text that is no JSON, or bytes (`Uint8Array`). */
export interface Message<D = unknown> extends Position {
  topic: string;
  /** The pattern that brought it, where the subscription is one. */
  pattern?: string;
  data: D;
}

/** May answer a promise: the next message then waits for it, in a bounded queue. */
export type Handler<D> = (message: Message<D>) => unknown;

export interface SubscribeOptions {
  /** Where to begin: what comes from now on (default), the newest, all that is kept, a position. */
  from?: "latest" | "last" | "oldest" | Position;
  /** `latest`: only the newest, told to the handler at animation frames. */
  mode?: "lossless" | "latest";
  /** Frames a second of each topic at most. */
  rate?: number;
  /** What happens when this client falls behind what the server keeps. */
  lag?: "disconnect" | "skip-to-oldest" | "skip-to-latest";
  /** Messages that wait for a slow handler at most; older ones are dropped and told. */
  queue_max?: number;
}

/** Frames are missing. Reasons of the client's own: `queue`, the handler was too slow and they were
 * dropped here; `unknown`, an event stream broke before its first message, so that nobody knows
 * whether one was missed. */
export interface Gap {
  topic: string;
  from: number;
  to: number;
  /** How many, where somebody counted. */
  frames?: number;
  reason: "lagged" | "expired" | "epoch" | "conflated" | "relay" | "queue" | "unknown";
}

/** Answer to a publish. */
export interface Published extends Position { subscribers: number }

export interface PublishOptions {
  /** The string is published as it is, not as JSON. */
  text?: boolean;
}

export type Reconnect = "no" | "now" | "later";

/** A connection has ended. `delay_ms` is how long until the next attempt, if there is one. */
export interface Closed { code: number; reason: string; reconnect: Reconnect; delay_ms?: number }

export type State = "idle" | "connecting" | "open" | "waiting" | "paused" | "closed";

export type SubscriptionState = "pending" | "active" | "failed" | "closed";

/** What a failed subscription does next: nothing, try again, or try on the next connection. */
export type Retry = "never" | "later" | "next_connection";

export interface Failure { error: GridcastError; topic?: string; retry?: Retry }

export interface SubscriptionEvents {
  /** It has begun, for the first time or again, behind this position where the carrier knows it. */
  subscribed: { topic: string } & Partial<Position>;
  /** It goes on after a break, and nothing is missing. */
  resumed: { topic: string } & Position;
  gap: Gap;
  error: Failure;
}

/** Events of subscriptions are told on the client as well. */
export interface ClientEvents extends SubscriptionEvents {
  state: { state: State; previous: State };
  /** Connected. An event stream has no greeting: it tells the protocol only. */
  open: {
    protocol: string; version?: string; heartbeat_ms?: number; epoch?: string;
    message_bytes_max?: number;
  };
  close: Closed;
  /** The server is another one, or was started again. */
  restarted: { epoch: string; previous: string };
}

/** One topic or pattern that is followed. */
export interface Feed {
  readonly topic: string;
  readonly state: SubscriptionState;
  /** Where it stands; none before the server has answered. */
  readonly position: Position | undefined;
  /** Messages that `mode: "latest"` left out here, because newer ones came before the frame. */
  readonly conflated: number;
  on<E extends keyof SubscriptionEvents>(
    event: E, listener: (told: SubscriptionEvents[E]) => void,
  ): () => void;
  /** Ends it, for good. */
  close(): void;
}

/** What every client of this package can do, whatever carries it. */
export interface FeedClient<M = AnyTopics> {
  readonly state: State;
  /** Answers a function that stops listening. */
  on<E extends keyof ClientEvents>(
    event: E, listener: (told: ClientEvents[E]) => void,
  ): () => void;
  subscribe<T extends string>(
    topic: T, handler: Handler<Payload<M, T>>, options?: SubscribeOptions,
  ): Feed;
  publish<T extends string>(
    topic: T, data: Payload<M, T>, options?: PublishOptions,
  ): Promise<Published>;
  /** Connects; needed only before the first subscription, and after `close`. */
  connect(): void;
  /** Ends the connection; nothing but `connect` opens it again. */
  close(): void;
}

/** Called before each connect; none, `null` or "" connects without a token. */
export type TokenSource = string | (() => Token | Promise<Token>);

export type Token = string | null | undefined;

/** As much of a WebSocket as is used. */
export interface SocketLike {
  binaryType: string;
  readonly protocol: string;
  onmessage: ((event: { data: any }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

export type SocketClass = new (url: string, protocols: string[]) => any;

/** Durations and bounds; each has a default and a range (README). */
export interface Knobs {
  connect_timeout_ms: number;
  reconnect_ms_min: number;
  reconnect_ms_max: number;
  stable_after_ms: number;
  check_timeout_ms: number;
  publish_timeout_ms: number;
  publishes_max: number;
  pause_hidden_ms: number;
}

export interface ClientOptions extends Partial<Knobs> {
  token?: TokenSource;
  /** Default: the global one. On Node 20, that of `ws`. */
  WebSocket?: SocketClass;
  /** In the order of preference; default: binary, then JSON. */
  protocols?: ("gridcast.v1.bin" | "gridcast.v1.json")[];
  /** The page whose life cycle is heeded; default: the one this runs in, if any. */
  page?: Page | false;
  /** Time, timers, chance and animation frames; for tests. */
  clock?: Partial<Clock>;
}
