// One topic or pattern that is followed: where it stands, and what is told of it. Knows neither
// sockets nor streams: whoever carries it calls `begun`, `take`, `missed` and `failed`.

import type { Clock } from "./clock.js";
import { Emitter } from "./emitter.js";
import type { GridcastError } from "./errors.js";
import { Inbox, type Unread } from "./inbox.js";
import { refuse, within } from "./settings.js";
import type {
  ClientEvents, Feed, Gap, Handler, Position, Retry, SubscribeOptions, SubscriptionEvents,
  SubscriptionState,
} from "./types.js";

/** What a subscription needs of its client. */
export interface Host {
  clock: Clock;
  events: Emitter<ClientEvents>;
  ended(subscription: Subscription): void;
}

export class Subscription implements Feed {
  readonly topic: string;
  readonly options: SubscribeOptions;
  state: SubscriptionState = "pending";
  position: Position | undefined;
  #host: Host;
  #events = new Emitter<SubscriptionEvents>();
  #inbox: Inbox;

  constructor(host: Host, topic: string, handler: Handler<any>, options: SubscribeOptions) {
    if (typeof handler !== "function") refuse("`handler` must be a function");
    this.topic = topic;
    this.options = { queue_max: QUEUE_MAX, ...options };
    this.#host = host;
    within("queue_max", this.options.queue_max!, 1, 1_000_000);
    const lost = (gap: Omit<Gap, "topic">) => this.#tell("gap", { topic, ...gap });
    this.#inbox = new Inbox(handler, this.options, host.clock, lost);
  }

  get conflated(): number {
    return this.#inbox.conflated;
  }

  on<E extends keyof SubscriptionEvents>(
    event: E, listener: (told: SubscriptionEvents[E]) => void,
  ): () => void {
    return this.#events.on(event, listener);
  }

  close(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#inbox.close();
    this.#host.ended(this);
  }

  /** Where to begin, or to go on. */
  from(): string | undefined {
    const from = this.position ?? this.options.from;
    return typeof from === "object" ? `${from.epoch}-${from.seq}` : from;
  }

  /** The server has begun, behind `position`. What is missing before that, it tells next. A stream
   * does not say where it begins. */
  begun(position?: Position): void {
    const before = this.position;
    this.state = "active";
    this.position = position ?? before;
    const told = { topic: this.topic, ...position };
    this.#later("subscribed", told);
    const is_whole = before && before.epoch === position?.epoch && position.seq <= before.seq;
    if (is_whole) this.#later("resumed", told as { topic: string } & Position);
  }

  /** A message of `topic`. What is still on its way for a subscription that has ended comes before
   * the answer to the next, and is not for that. */
  take(topic: string, seq: number, read: Unread["read"], epoch = this.position?.epoch): void {
    if (this.state !== "active" || !epoch) return;
    const position = this.position = { epoch, seq };
    const pattern = topic !== this.topic && { pattern: this.topic };
    this.#inbox.put({ topic, ...pattern, ...position, read });
  }

  missed(gap: Omit<Gap, "topic">): void {
    const { position } = this;
    if (position && gap.reason !== "epoch" && gap.to > position.seq) {
      this.position = { ...position, seq: gap.to };
    }
    this.#later("gap", { topic: this.topic, ...gap });
  }

  failed(error: GridcastError, retry: Retry): void {
    this.state = retry === "later" ? "pending" : "failed";
    this.#tell("error", { error, topic: this.topic, retry });
  }

  // In its place among the messages.
  #later<E extends keyof SubscriptionEvents>(event: E, told: SubscriptionEvents[E]): void {
    this.#inbox.tell(() => this.#tell(event, told));
  }

  #tell<E extends keyof SubscriptionEvents>(event: E, told: SubscriptionEvents[E]): void {
    const is_heard = this.#events.emit(event, told);
    const is_heard_there = this.#host.events.emit(event, told as any);
    if (!is_heard && !is_heard_there) warn(event, told);
  }
}

// Nobody listens, and a loss is never silent. What `mode: "latest"` leaves out was asked for.
function warn(event: string, told: object): void {
  const is_wanted = (told as Partial<Gap>).reason === "conflated";
  if ((event === "gap" || event === "error") && !is_wanted) console.warn("gridcast", event, told);
}

const QUEUE_MAX = 1_024;
