// Hooks for React: what a topic last said, as a store outside of React. Must not keep a connection
// of its own: the client is the application's.

import {
  type ReactNode, createContext, createElement, useCallback, useContext, useSyncExternalStore,
} from "react";
import type {
  AnyTopics, Feed, FeedClient, Gap, Message, Payload, SubscribeOptions, SubscriptionState,
} from "./types.js";

export interface FeedSnapshot<D> {
  data: D | undefined;
  message: Message<D> | undefined;
  state: SubscriptionState;
  /** The last one that was told. */
  gap: Gap | undefined;
  error: Error | undefined;
}

const Context = createContext<FeedClient<any> | undefined>(undefined);

/** Gives the components in it their client. */
export function FeedProvider(props: { client: FeedClient<any>; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: props.client }, props.children);
}

/** The client of the nearest provider. */
export function useFeedClient<M = AnyTopics>(): FeedClient<M> {
  const client = useContext(Context);
  if (!client) throw new Error("useFeed needs a <FeedProvider client={…}> above it");
  return client;
}

/** Renders with the newest message of a topic, at most once an animation frame by default. All
 * components that name a topic share one subscription, with the options of the first of them. */
export function useFeed<M = AnyTopics, T extends string = string>(
  topic: T, options: SubscribeOptions = NEWEST,
): FeedSnapshot<Payload<M, T>> {
  const client = useFeedClient<M>();
  const subscribe = useCallback(
    (turned: () => void) => storeOf(client, topic).join(client, options, turned),
    [client, topic],
  );
  const snapshot = () => storeOf(client, topic).snapshot;
  return useSyncExternalStore(subscribe, snapshot, () => EMPTY);
}

/** `useFeed` with the payload types of a map: `const useFeed = feedHook<Topics>()`. */
export function feedHook<M>(): <T extends string>(
  topic: T, options?: SubscribeOptions,
) => FeedSnapshot<Payload<M, T>> {
  return useFeed as any;
}

class Store {
  snapshot: FeedSnapshot<any> = EMPTY;
  #topic: string;
  #feed: Feed | undefined;
  #joined = new Set<() => void>();

  constructor(topic: string) {
    this.#topic = topic;
  }

  join(client: FeedClient<any>, options: SubscribeOptions, turned: () => void): () => void {
    this.#joined.add(turned);
    if (!this.#feed) this.#begin(client, options);
    return () => this.#leave(client, turned);
  }

  #begin(client: FeedClient<any>, options: SubscribeOptions): void {
    const take = (message: Message<any>) => this.#set({ message, data: message.data });
    const feed = this.#feed = client.subscribe(this.#topic, take, options);
    feed.on("subscribed", () => this.#set({ state: feed.state, error: undefined }));
    feed.on("gap", (gap) => this.#set({ gap }));
    feed.on("error", ({ error }) => this.#set({ error, state: feed.state }));
  }

  // React leaves and joins again within a turn, as in its strict mode: that is no reason to ask
  // the server twice.
  #leave(client: FeedClient<any>, turned: () => void): void {
    this.#joined.delete(turned);
    queueMicrotask(() => {
      if (this.#joined.size) return;
      this.#feed?.close();
      this.#feed = undefined;
      STORES.get(client)?.delete(this.#topic);
    });
  }

  #set(changed: Partial<FeedSnapshot<any>>): void {
    this.snapshot = { ...this.snapshot, ...changed };
    this.#joined.forEach((turned) => turned());
  }
}

function storeOf(client: FeedClient<any>, topic: string): Store {
  const stores = STORES.get(client) ?? new Map<string, Store>();
  STORES.set(client, stores);
  const store = stores.get(topic) ?? new Store(topic);
  stores.set(topic, store);
  return store;
}

const STORES = new WeakMap<FeedClient<any>, Map<string, Store>>();
const NEWEST: SubscribeOptions = { from: "last", mode: "latest" };
const EMPTY: FeedSnapshot<any> = {
  data: undefined, message: undefined, state: "pending", gap: undefined, error: undefined,
};
