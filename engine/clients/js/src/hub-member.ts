// One subscription of one tab, as the hub sees it: what was posted and not taken yet is bounded, so
// that a tab that is frozen costs no more than its queue. Must not know sockets.

import { type Clock, clockOf } from "./clock.js";
import type { FromTab, ToTab } from "./hub-wire.js";
import { Inbox } from "./inbox.js";
import type { Gap, Message, Position, SubscribeOptions } from "./types.js";

export class Member {
  readonly n: number;
  readonly topic: string;
  readonly options: SubscribeOptions;
  #post: (message: ToTab) => void;
  #inbox: Inbox;
  #untaken = 0;
  #goOn: (() => void) | undefined;

  constructor(asked: NonNullable<FromTab["subscribe"]>, post: (message: ToTab) => void) {
    const { n, topic, options } = asked;
    this.n = n;
    this.topic = topic;
    this.options = { queue_max: QUEUE_MAX, ...options };
    this.#post = post;
    const lost = (gap: Omit<Gap, "topic">) => this.#post({ gap: { n, gap: { topic, ...gap } } });
    this.#inbox = new Inbox((message) => this.#send(message), this.options, AT_ONCE, lost);
  }

  put({ data, ...position }: Message): void {
    this.#inbox.put({ ...position, read: () => data });
  }

  subscribed(position: Position): void {
    this.#inbox.tell(() => this.#post({ subscribed: { n: this.n, position } }));
  }

  missed(gap: Gap): void {
    this.#inbox.tell(() => this.#post({ gap: { n: this.n, gap } }));
  }

  taken(count: number): void {
    this.#untaken -= count;
    this.#goOn?.();
    this.#goOn = undefined;
  }

  close(): void {
    this.#inbox.close();
  }

  #send(message: Message): void | Promise<void> {
    this.#post({ message: { n: this.n, message } });
    if (++this.#untaken < UNTAKEN_MAX) return;
    return new Promise((goOn) => (this.#goOn = goOn));
  }
}

const QUEUE_MAX = 1_024;
// Enough to keep a port busy while the answers come back.
const UNTAKEN_MAX = 64;
// Animation frames are the tab's.
const AT_ONCE: Clock = clockOf({ frame: (run) => queueMicrotask(run) });
