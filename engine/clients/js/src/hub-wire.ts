// What a tab and the hub say to each other over a message port. Types only.

import type {
  Gap, Knobs, Message, Position, PublishOptions, Published, Retry, SubscribeOptions,
} from "./types.js";

/** Errors lose their class on the way. */
export interface PlainError { code: string; message: string }

export interface Hi {
  url: string;
  /** What can be passed on of the options of the tab. */
  options: Partial<Knobs> & { protocols?: string[] };
  has_token: boolean;
  /** The tab lives as long as it holds this lock; none where there are no locks. */
  lock?: string;
}

/** From a tab. Numbers are its own. */
export interface FromTab {
  hi?: Hi;
  subscribe?: { n: number; topic: string; options: SubscribeOptions };
  unsubscribe?: number;
  /** So many messages of this subscription have arrived. */
  taken?: { n: number; count: number };
  publish?: { n: number; topic: string; data: unknown; options: PublishOptions };
  token?: { token?: string; error?: PlainError };
  connect?: true;
  check?: true;
  bye?: true;
}

/** To a tab. */
export interface ToTab {
  /** The first word: the script runs. */
  open?: true;
  /** The hub lives as long as it holds this lock. */
  welcome?: { lock?: string };
  event?: { event: "state" | "open" | "close" | "restarted" | "error"; told: any };
  message?: { n: number; message: Message };
  subscribed?: { n: number; position: Position };
  gap?: { n: number; gap: Gap };
  failed?: { n: number; error: PlainError; retry: Retry };
  published?: { n: number; published?: Published; error?: PlainError };
  token_wanted?: true;
}

export function plainError(thrown: unknown): PlainError {
  const { code = "failed", message = String(thrown) } = (thrown ?? {}) as Partial<PlainError>;
  return { code, message };
}
