// The client of one tab, whose socket is the hub's. Owns the tab's subscriptions and publishes, and
// comes back to another hub when its own is gone. Must not open a socket.

import { baseOf, tokenOf } from "./address.js";
import { Emitter } from "./emitter.js";
import { GridcastError, followedAlready } from "./errors.js";
import type { FromTab, PlainError, ToTab } from "./hub-wire.js";
import { plainError } from "./hub-wire.js";
import { Outbox, notSent } from "./outbox.js";
import { pageHere, watchPage } from "./page.js";
import { type Settings, settingsOf } from "./settings.js";
import { type Host, Subscription } from "./subscription.js";
import type {
  AnyTopics, ClientEvents, ClientOptions, Feed, FeedClient, Handler, Payload, PublishOptions,
  Published, State, SubscribeOptions,
} from "./types.js";

/** The way to a hub. */
export interface Way {
  port: MessagePort;
  /** The tab holds this lock while it lives. */
  lock?: string;
  /** Waits until the hub that holds this lock is gone. */
  outlived?(lock: string): Promise<void>;
  /** The hub need not notice a tab that leaves by itself. */
  leave(): void;
}

export type FindWay = () => Promise<Way>;

export class TabClient<M = AnyTopics> implements FeedClient<M> {
  #url: string;
  #settings: Settings;
  #passed_on: object;
  #findWay: FindWay;
  #way: Way | undefined;
  #attempt = 0;
  #events = new Emitter<ClientEvents>();
  #host: Host;
  #subscriptions = new Map<number, Subscription>();
  #outbox: Outbox<FromTab>;
  #next = 1;
  #state: State = "idle";
  #leavePage: (() => void) | undefined;

  constructor(url: string | URL, options: ClientOptions, findWay: FindWay) {
    const settings = this.#settings = settingsOf(options, OTHERS);
    this.#url = baseOf(url).href;
    this.#findWay = findWay;
    const passable = ([name, value]: [string, unknown]) =>
      typeof value === "number" || name === "protocols";
    this.#passed_on = Object.fromEntries(Object.entries(options).filter(passable));
    const ended = (subscription: Subscription) => this.#unsubscribe(subscription);
    this.#host = { clock: settings.clock, events: this.#events, ended };
    this.#outbox = new Outbox(settings);
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
    if ([...this.#subscriptions.values()].some((followed) => followed.topic === topic)) {
      throw followedAlready(topic);
    }
    const subscription = new Subscription(this.#host, topic, handler, options);
    const n = this.#next++;
    this.#subscriptions.set(n, subscription);
    this.#follow(subscription, n);
    if (this.#state === "idle") this.connect();
    return subscription;
  }

  async publish<T extends string>(
    topic: T, data: Payload<M, T>, options: PublishOptions = {},
  ): Promise<Published> {
    if (this.#state === "closed") throw notSent("the client is closed");
    if (this.#state === "idle") this.connect();
    const published = this.#outbox.add((n) => ({ publish: { n, topic, data, options } }));
    published.catch(() => {}); // what cannot be passed on fails here as well
    if (this.#way) this.#outbox.flush(this.#say);
    return published;
  }

  connect(): void {
    if (this.#way) return this.#say({ connect: true });
    if (this.#state !== "connecting") void this.#attach();
  }

  close(): void {
    this.#detach("closed");
    this.#leavePage?.();
    this.#leavePage = undefined;
  }

  // ---- coming and going ----

  async #attach(): Promise<void> {
    const attempt = ++this.#attempt;
    this.#set("connecting");
    this.#watch();
    const way = await this.#findWay();
    if (attempt !== this.#attempt) return way.leave();
    this.#way = way;
    way.port.onmessage = ({ data }) => this.#way === way && this.#told(data);
    const hi = {
      url: this.#url, options: this.#passed_on, has_token: this.#settings.token !== undefined,
    };
    this.#say({ hi: way.lock ? { ...hi, lock: way.lock } : hi });
    this.#subscriptions.forEach((subscription, n) => this.#follow(subscription, n));
    this.#say({ connect: true });
    this.#outbox.flush(this.#say);
  }

  #detach(state: State): void {
    this.#attempt++;
    this.#say({ bye: true });
    this.#way?.leave();
    this.#way = undefined;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === "active") subscription.state = "pending";
    }
    this.#outbox.broken(state === "closed");
    this.#set(state);
  }

  #watch(): void {
    const page = this.#settings.page ?? pageHere();
    if (!page || this.#leavePage) return;
    this.#leavePage = watchPage(page, this.#settings, {
      check: () => (this.#state === "paused" ? void this.#attach() : this.#say({ check: true })),
      pause: () => this.#detach("paused"),
    });
  }

  /** Whoever shares the socket is gone, by a crash or by the browser: find another. */
  #outlived(lock: string): void {
    const way = this.#way;
    void way?.outlived?.(lock).then(() => {
      if (way !== this.#way) return;
      this.#detach("connecting");
      void this.#attach();
    });
  }

  #set(state: State): void {
    const previous = this.#state;
    this.#state = state;
    if (state !== previous) this.#events.emit("state", { state, previous });
  }

  #say = (said: FromTab): void => this.#way?.port.postMessage(said);

  // ---- subscriptions ----

  #follow({ topic, options, position }: Subscription, n: number): void {
    const from = position ?? options.from;
    const asked = from === undefined ? options : { ...options, from };
    this.#say({ subscribe: { n, topic, options: asked } });
  }

  #unsubscribe(subscription: Subscription): void {
    for (const [n, one] of this.#subscriptions) {
      if (one !== subscription) continue;
      this.#subscriptions.delete(n);
      this.#say({ unsubscribe: n });
    }
  }

  // ---- what the hub says ----

  #told(told: ToTab): void {
    const { welcome, event, message, subscribed, gap, failed, published } = told;
    if (message) this.#take(message);
    else if (subscribed) this.#subscriptions.get(subscribed.n)?.begun(subscribed.position);
    else if (gap) this.#subscriptions.get(gap.n)?.missed(gap.gap);
    else if (failed) this.#failed(failed);
    else if (published) this.#answered(published);
    else if (event) this.#event(event);
    else if (welcome?.lock) this.#outlived(welcome.lock);
    else if (told.token_wanted) void this.#giveToken();
  }

  #take({ n, message }: NonNullable<ToTab["message"]>): void {
    const { topic, seq, epoch, data } = message;
    this.#subscriptions.get(n)?.take(topic, seq, () => data, epoch);
    this.#say({ taken: { n, count: 1 } });
  }

  #failed({ n, error, retry }: NonNullable<ToTab["failed"]>): void {
    const subscription = this.#subscriptions.get(n);
    if (retry === "never") this.#subscriptions.delete(n);
    subscription?.failed(fromPlain(error), retry);
  }

  #answered({ n, published, error }: NonNullable<ToTab["published"]>): void {
    const asked = this.#outbox.take(n);
    if (published) asked?.resolve(published);
    else if (error) asked?.reject(fromPlain(error));
  }

  #event({ event, told }: NonNullable<ToTab["event"]>): void {
    if (event === "state") return this.#set(told.state);
    const heard = told.error ? { ...told, error: fromPlain(told.error) } : told;
    if (!this.#events.emit(event, heard) && event === "error") console.warn("gridcast", heard);
  }

  async #giveToken(): Promise<void> {
    const answer = await tokenOf(this.#settings.token).then(
      (token) => (token === undefined ? {} : { token }),
      (thrown) => ({ error: plainError(thrown) }),
    );
    this.#say({ token: answer });
  }
}

function fromPlain({ code, message }: PlainError): GridcastError {
  return new GridcastError(code, message);
}

const OTHERS = ["token", "WebSocket", "protocols", "page", "clock"];
