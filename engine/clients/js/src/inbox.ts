// What came for one handler and was not handed over yet: a bounded queue in order, or only the
// newest of each topic, an animation frame at a time. Must not know where messages come from.

import type { Clock } from "./clock.js";
import { isolated, throwLater } from "./isolated.js";
import type { Gap, Handler, Message, SubscribeOptions } from "./types.js";

/** A message whose payload is read when its turn comes: what is left out costs nothing. */
export type Unread = Omit<Message, "data"> & { read: () => unknown };

export class Inbox {
  conflated = 0;
  #handler: Handler<any>;
  #options: SubscribeOptions;
  #clock: Clock;
  #tellLost: (gap: Omit<Gap, "topic">) => void;
  // Messages, and what is to be told between them.
  #queue: (Unread | (() => void))[] = [];
  #messages = 0;
  #lost: { from: number; frames: number; to: number; reason: "queue" } | undefined;
  #newest = new Map<string, Unread>();
  #is_frame_due = false;
  #is_busy = false;

  /** `lost` is called before the message behind what was dropped. */
  constructor(
    handler: Handler<any>, options: SubscribeOptions, clock: Clock,
    lost: (gap: Omit<Gap, "topic">) => void,
  ) {
    this.#handler = handler;
    this.#options = options;
    this.#clock = clock;
    this.#tellLost = lost;
  }

  put(unread: Unread): void {
    if (this.#options.mode === "latest") return this.#replace(unread);
    this.#queue.push(unread);
    if (++this.#messages > this.#options.queue_max!) this.#dropOldest();
    this.#pump();
  }

  /** Runs in its place among the messages. */
  tell(tell: () => void): void {
    this.#queue.push(tell);
    this.#pump();
  }

  close(): void {
    this.#is_busy = true; // for ever
    this.#queue = [];
    this.#newest.clear();
  }

  #replace(unread: Unread): void {
    if (!this.#newest.size) this.#clock.frame(() => this.#frame());
    if (this.#newest.delete(unread.topic)) this.conflated++;
    this.#newest.set(unread.topic, unread);
  }

  #frame(): void {
    this.#is_frame_due = this.#is_busy;
    if (this.#is_busy) return;
    this.#messages += this.#newest.size;
    for (const unread of this.#newest.values()) this.#queue.push(unread);
    this.#newest.clear();
    this.#pump();
  }

  #dropOldest(): void {
    const at = this.#queue.findIndex((item) => typeof item === "object");
    const { seq } = this.#queue.splice(at, 1)[0] as Unread;
    const { from, frames } = this.#lost ?? { from: seq, frames: 0 };
    this.#lost = { from, to: seq, frames: frames + 1, reason: "queue" };
    this.#messages--;
  }

  #pump(): void {
    while (!this.#is_busy && this.#queue.length) {
      const item = this.#queue.shift()!;
      if (typeof item === "function") item();
      else this.#hand(item);
    }
  }

  #hand({ read, ...position }: Unread): void {
    this.#messages--;
    if (this.#lost) this.#tellLost(this.#lost);
    this.#lost = undefined;
    const answer: any = isolated(() => this.#handler({ ...position, data: read() }));
    if (!answer?.then) return;
    this.#is_busy = true;
    const done = () => this.#rest();
    answer.then(done, (thrown: unknown) => (throwLater(thrown), done()));
  }

  #rest(): void {
    this.#is_busy = false;
    if (this.#is_frame_due) this.#frame();
    this.#pump();
  }
}
