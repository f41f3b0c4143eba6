// Subscriptions of the wall: each topic once, whoever wants it. Owns what is told when one is
// refused. Must not read messages.

import type { Client, Message, SubscribeOptions } from "../../../clients/js/src/index.js";

type Take = (message: Message) => void;

export class Sources {
  #takers = new Map<string, Take[]>();

  constructor(readonly client: Client, readonly refused: (text: string) => void) {}

  /** Options of the first who asks count. */
  follow(topic: string, options: SubscribeOptions, take: Take): void {
    const takers = this.#takers.get(topic);
    if (takers) return void takers.push(take);
    const all = [take];
    this.#takers.set(topic, all);
    try {
      const handler: Take = (message) => all.forEach((one) => one(message));
      const feed = this.client.subscribe(topic, handler, options);
      // What is left out for want of time is replaced by what is newer.
      feed.on("gap", () => {});
      feed.on("error", ({ error }) => this.refused(`${topic}: ${error.message}`));
    } catch (thrown) {
      this.refused(`${topic}: ${thrown instanceof Error ? thrown.message : thrown}`);
    }
  }
}
