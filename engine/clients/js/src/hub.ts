// The clients that tabs share: one socket for all of them, and another only where the server would
// refuse a second subscription to the same topic. Runs in a shared worker, or in the page itself.
// Must not know how tabs come and go.

import { Client } from "./client.js";
import type { Member } from "./hub-member.js";
import type {
  ClientOptions, Feed, Message, Position, PublishOptions, Published, Retry, SubscribeOptions,
} from "./types.js";

/** A subscription of a client, and who shares it. */
interface Shared {
  key: string;
  topic: string;
  from: SubscribeOptions["from"];
  client: Client;
  feed: Feed;
  last: Message | undefined;
  members: Set<Member>;
}

export interface HubCalls {
  event(event: any, told: any): void;
  failed(member: Member, error: Error, retry: Retry): void;
}

export class Hub {
  #url: string;
  #options: ClientOptions;
  #calls: HubCalls;
  #clients: Client[] = [];
  #shared = new Set<Shared>();

  constructor(url: string, options: ClientOptions, calls: HubCalls) {
    this.#url = url;
    this.#options = options;
    this.#calls = calls;
  }

  get client(): Client {
    return this.#clients[0] ?? this.#addClient();
  }

  join(member: Member): void {
    const shared = this.#joinable(member) ?? this.#begin(member);
    shared.members.add(member);
    const { position } = shared.feed;
    if (!position) return; // told when the server has answered
    const is_last_wanted = member.options.from === "last" && shared.last;
    member.subscribed(position);
    if (is_last_wanted) member.put(shared.last!);
  }

  leave(member: Member): void {
    member.close();
    for (const shared of this.#shared) {
      if (shared.members.delete(member) && !shared.members.size) this.#end(shared);
    }
  }

  publish(topic: string, data: unknown, options: PublishOptions): Promise<Published> {
    return this.client.publish(topic, data, options);
  }

  /** A tab was shown, or the network is back: no reason to wait on. */
  check(): void {
    const waiting = this.#clients.filter((client) => client.state === "waiting");
    waiting.forEach((client) => client.connect());
  }

  close(): void {
    this.#clients.splice(0).forEach((client) => client.close());
    this.#shared.clear();
  }

  #addClient(): Client {
    const client = new Client(this.#url, this.#options);
    if (!this.#clients.length) {
      for (const event of ["state", "open", "close", "restarted"] as const) {
        client.on(event, (told) => this.#calls.event(event, told));
      }
      client.on("error", (told) => told.topic ?? this.#calls.event("error", told));
    }
    // Losses are told in the tabs, where somebody listens.
    client.on("gap", () => {});
    this.#clients.push(client);
    return client;
  }

  #joinable({ topic, options }: Member): Shared | undefined {
    const key = keyOf(topic, options);
    return [...this.#shared].find((shared) => shared.key === key && serves(shared, options.from));
  }

  #begin(member: Member): Shared {
    const { topic, options } = member;
    const follows = (client: Client) =>
      [...this.#shared].some((one) => one.client === client && one.topic === topic);
    const client = this.#clients.find((client) => !follows(client)) ?? this.#addClient();
    const members = new Set<Member>();
    const key = keyOf(topic, options);
    const shared = { key, topic, from: options.from, client, members } as Shared;
    shared.feed = client.subscribe(topic, (message) => this.#take(shared, message), options);
    this.#shared.add(shared);
    shared.feed.on("subscribed", ({ epoch, seq }) => {
      members.forEach((member) => member.subscribed({ epoch: epoch!, seq: seq! }));
      this.#merge(shared);
    });
    shared.feed.on("gap", (gap) => members.forEach((member) => member.missed(gap)));
    shared.feed.on("error", ({ error, retry = "never" }) => {
      if (retry === "never") this.#shared.delete(shared);
      members.forEach((member) => this.#calls.failed(member, error, retry));
    });
    return shared;
  }

  #take(shared: Shared, message: Message): void {
    shared.last = message;
    shared.members.forEach((member) => member.put(message));
    this.#merge(shared);
  }

  /** Who began at a place of its own joins the others as soon as it is where they are. */
  #merge(shared: Shared): void {
    if (shared.client === this.#clients[0]) return;
    const { key, feed, members } = shared;
    const isThere = (one: Shared) =>
      one !== shared && one.key === key && isSame(one.feed.position, feed.position);
    const other = [...this.#shared].find(isThere);
    if (!other) return;
    members.forEach((member) => other.members.add(member));
    this.#end(shared);
  }

  #end(shared: Shared): void {
    this.#shared.delete(shared);
    shared.feed.close();
    const { client } = shared;
    const is_used = [...this.#shared].some((one) => one.client === client);
    if (is_used || client === this.#clients[0]) return;
    client.close();
    this.#clients = this.#clients.filter((one) => one !== client);
  }
}

/** Whether somebody who asks for this can be given what has begun already. */
function serves({ from: began, last, feed }: Shared, from: SubscribeOptions["from"]): boolean {
  if (from === undefined || from === "latest") return true;
  if (from === "last") return began === "last" || last !== undefined;
  return typeof from === "object" && isSame(from, feed.position);
}

function isSame(one: Position | undefined, other: Position | undefined): boolean {
  return !!one && one.epoch === other?.epoch && one.seq === other.seq;
}

function keyOf(topic: string, { mode, rate, lag }: SubscribeOptions): string {
  return JSON.stringify([topic, mode, rate, lag]);
}
