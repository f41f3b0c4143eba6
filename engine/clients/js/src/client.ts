// The client over one WebSocket: connects, brings every subscription back after a break, hands what
// comes to its subscription. Owns the state; leaves waiting, judging and reading to their files.

import { baseOf, endpoint, tokenOf } from "./address.js";
import { Backoff } from "./backoff.js";
import { ABNORMAL, afterClose, delayTold } from "./closes.js";
import { BINARY, JSON_TEXT, payloadFields, readData, readEnvelope, readPayload } from "./codec.js";
import { Emitter } from "./emitter.js";
import { GridcastError, followedAlready } from "./errors.js";
import { type Hello, Link } from "./link.js";
import { Outbox, notSent } from "./outbox.js";
import { pageHere, watchPage } from "./page.js";
import { type Settings, refuse, settingsOf } from "./settings.js";
import { type Host, Subscription } from "./subscription.js";
import type {
  AnyTopics, ClientEvents, ClientOptions, Feed, FeedClient, Handler, Payload, PublishOptions,
  Published, Retry, State, SubscribeOptions,
} from "./types.js";

/** Where a number of `gridcast.v1.bin` goes. */
interface Route { subscription: Subscription; topic: string }

export class Client<M = AnyTopics> implements FeedClient<M> {
  #base: URL;
  #settings: Settings;
  #backoff: Backoff;
  #outbox: Outbox<string>;
  #host: Host;
  #events = new Emitter<ClientEvents>();
  #subscriptions = new Map<string, Subscription>();
  #routes = new Map<number, Route>();
  #asked = new Map<string, Subscription>();
  #asks = 0;
  #state: State = "idle";
  #attempt = 0;
  #link: Link | undefined;
  #timer: unknown;
  #epoch: string | undefined;
  #leavePage: (() => void) | undefined;

  constructor(url: string | URL, options: ClientOptions = {}) {
    const settings = this.#settings = settingsOf(options, OTHERS);
    this.#base = baseOf(url);
    this.#backoff = new Backoff(settings);
    this.#outbox = new Outbox(settings);
    const ended = (subscription: Subscription) => this.#unsubscribe(subscription);
    this.#host = { clock: settings.clock, events: this.#events, ended };
    settings.WebSocket ??= globalThis.WebSocket ?? refuse(NO_SOCKET);
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
    if (this.#subscriptions.has(topic)) {
      throw followedAlready(topic);
    }
    const subscription = new Subscription(this.#host, topic, handler, options);
    this.#subscriptions.set(topic, subscription);
    if (this.#state === "open") this.#follow(subscription);
    else if (this.#state === "idle") this.connect();
    return subscription;
  }

  async publish<T extends string>(
    topic: T, data: Payload<M, T>, { text }: PublishOptions = {},
  ): Promise<Published> {
    if (this.#state === "closed") throw notSent("closed");
    if (this.#state === "idle") this.connect();
    const publish = { topic, ...payloadFields(data, text) };
    const published = this.#outbox.add((id) => JSON.stringify({ id, publish }));
    if (this.#state === "open") this.#outbox.flush(this.#send);
    return published;
  }

  connect(): void {
    if (this.#state === "open" || this.#state === "connecting") return;
    this.#watch();
    void this.#connect();
  }

  close(): void {
    this.#stop("closed");
    this.#leavePage?.();
    this.#leavePage = undefined;
  }

  // ---- connecting ----

  #watch(): void {
    const page = this.#settings.page ?? pageHere();
    if (!page || this.#leavePage) return;
    const calls = { check: () => this.#check(), pause: () => this.#stop("paused") };
    this.#leavePage = watchPage(page, this.#settings, calls);
  }

  async #connect(): Promise<void> {
    this.#stop("connecting");
    if (this.#state !== "connecting") return; // closed by who was told of it
    const attempt = this.#attempt;
    const { clock, connect_timeout_ms, token } = this.#settings;
    const late = () => this.#ended(ABNORMAL, `not connected within ${connect_timeout_ms} ms`);
    this.#timer = clock.setTimeout(late, connect_timeout_ms);
    try {
      const found = await tokenOf(token);
      if (attempt === this.#attempt) this.#link = this.#open(found);
    } catch (thrown) {
      if (attempt !== this.#attempt) return;
      this.#error(new GridcastError("not_connected", `${thrown}`));
      this.#ended(ABNORMAL, `${thrown}`);
    }
  }

  #open(token: string | undefined): Link {
    const query = { hello: "1", ...(token && { token }) };
    const url = endpoint(this.#base, "ws", "v1/ws", query);
    const { WebSocket, protocols = [BINARY, JSON_TEXT] } = this.#settings;
    return new Link(new WebSocket!(url, protocols), this.#settings, {
      opened: (hello, protocol) => this.#opened(hello, protocol),
      told: (message) => this.#told(message),
      frame: (bytes) => this.#frame(bytes),
      ended: (code, reason) => this.#ended(code, reason),
    });
  }

  #opened(hello: Hello, protocol: string): void {
    this.#settings.clock.clearTimeout(this.#timer);
    this.#backoff.opened();
    const { epoch } = hello;
    this.#outbox.message_bytes_max = hello.message_bytes_max;
    const previous = this.#epoch ?? epoch;
    this.#epoch = epoch;
    this.#set("open");
    this.#events.emit("open", { protocol, ...hello });
    if (previous !== epoch) this.#events.emit("restarted", { epoch, previous });
  }

  /** Ends whatever there is, without telling anybody but of the state. */
  #stop(state: State): void {
    this.#attempt++;
    this.#settings.clock.clearTimeout(this.#timer);
    this.#link?.close();
    this.#link = undefined;
    this.#routes.clear();
    this.#asked.clear();
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === "active") subscription.state = "pending";
    }
    this.#outbox.broken(state === "closed");
    this.#set(state);
  }

  #ended(code: number, reason: string): void {
    const reconnect = afterClose(code, this.#settings.token);
    const told = { code, reason, reconnect };
    if (reconnect === "no") {
      this.close();
      this.#events.emit("close", told);
      return;
    }
    const delay_ms = this.#backoff.next(reconnect, delayTold(code, reason));
    this.#stop("waiting");
    if (this.#state !== "waiting") return; // closed by who was told of it
    this.#timer = this.#settings.clock.setTimeout(() => void this.#connect(), delay_ms);
    this.#events.emit("close", { ...told, delay_ms });
  }

  #check(): void {
    if (this.#state === "open") this.#link?.check();
    else this.connect();
  }

  #set(state: State): void {
    const previous = this.#state;
    this.#state = state;
    if (state === "open") this.#resume();
    if (state !== previous) this.#events.emit("state", { state, previous });
  }

  /** In one burst, and before anybody is told, who might add to it. */
  #resume(): void {
    this.#subscriptions.forEach((subscription) => this.#follow(subscription));
    this.#outbox.flush(this.#send);
  }

  #error(error: GridcastError): void {
    if (!this.#events.emit("error", { error })) console.warn("gridcast", error);
  }

  // ---- subscriptions ----

  #follow(subscription: Subscription): void {
    if (this.#state !== "open" || !this.#follows(subscription)) return;
    const { topic, options: { queue_max: _, ...options } } = subscription;
    const id = `s${++this.#asks}`;
    this.#asked.set(id, subscription);
    this.#send(JSON.stringify({ id, subscribe: { ...options, topic, from: subscription.from() } }));
  }

  /** Whom an answer is for, if it is still wanted; a subscription may end under its topic. */
  #asker(id: string): Subscription | undefined {
    const subscription = this.#asked.get(id) ?? this.#subscriptions.get(id);
    this.#asked.delete(id);
    return subscription && this.#follows(subscription) ? subscription : undefined;
  }

  #begun(id: string, { epoch, seq, feed }: any): void {
    const subscription = this.#asker(id);
    if (!subscription) return;
    this.#routes.set(feed, { subscription, topic: subscription.topic });
    subscription.begun({ epoch, seq });
  }

  #refused(subscription: Subscription, error: GridcastError): void {
    const retry = retryAfter(error.code);
    if (retry === "never") this.#subscriptions.delete(subscription.topic);
    subscription.failed(error, retry);
    if (retry !== "later") return;
    // Another connection asks for it by itself.
    const { clock, reconnect_ms_max } = this.#settings;
    const attempt = this.#attempt;
    const again = () => attempt === this.#attempt && this.#follow(subscription);
    clock.setTimeout(again, clock.random() * reconnect_ms_max);
  }

  #follows(subscription: Subscription): boolean {
    return this.#subscriptions.get(subscription.topic) === subscription;
  }

  #unsubscribe(subscription: Subscription): void {
    const { topic } = subscription;
    if (!this.#follows(subscription)) return;
    this.#subscriptions.delete(topic);
    for (const [feed, route] of this.#routes) {
      if (route.subscription === subscription) this.#routes.delete(feed);
    }
    if (this.#state === "open") this.#send(JSON.stringify({ unsubscribe: { topic } }));
  }

  #send = (text: string): void => this.#link?.send(text);

  // ---- what comes ----

  #frame(bytes: Uint8Array): void {
    const envelope = readEnvelope(bytes);
    const route = this.#routes.get(envelope.feed);
    route?.subscription.take(route.topic, envelope.seq, () => readPayload(envelope));
  }

  #told(message: any): void {
    const { id, topic, gap, error, published, subscribed } = message;
    if (error) this.#failed(id ?? error.topic, new GridcastError(error.code, error.message));
    else if (subscribed) this.#begun(id, subscribed);
    else if (published) this.#outbox.take(id)?.resolve(published);
    else if (gap) this.#subscriptions.get(gap.topic)?.missed(gap);
    else if (topic !== undefined) this.#delivered(message);
  }

  #failed(id: any, error: GridcastError): void {
    const subscription = this.#asker(id);
    if (subscription) return this.#refused(subscription, error);
    const publish = this.#outbox.take(id);
    if (publish) publish.reject(error);
    else if (id === undefined) this.#error(error);
  }

  /** An envelope in JSON, or the number that a topic of a pattern has in binary ones. */
  #delivered(message: any): void {
    const { topic, pattern, feed, seq } = message;
    const subscription = this.#subscriptions.get(pattern ?? topic);
    if (!subscription) return;
    if (feed !== undefined) this.#routes.set(feed, { subscription, topic });
    else subscription.take(topic, seq, () => readData(message));
  }
}

// Everything else is a limit or a dependency of the server: these pass.
function retryAfter(code: string): Retry {
  if (code === "bad_request") return "never";
  return code === "forbidden" ? "next_connection" : "later";
}

const OTHERS = ["token", "WebSocket", "protocols", "page", "clock"];
const NO_SOCKET = "no WebSocket: pass one";
