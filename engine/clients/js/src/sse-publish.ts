// Publishes one message by POST, for clients without a socket. Must not repeat one.

import { endpoint, tokenOf } from "./address.js";
import { bytesOf } from "./codec.js";
import { GridcastError } from "./errors.js";
import type { Settings } from "./settings.js";
import { encodeTopic } from "./sse-stream.js";
import type { PublishOptions, Published } from "./types.js";

export async function publishByPost(
  base: URL, fetch: typeof globalThis.fetch, settings: Settings,
  topic: string, data: unknown, { text }: PublishOptions,
): Promise<Published> {
  const { clock, publish_timeout_ms } = settings;
  const control = new AbortController();
  const { signal } = control;
  const [type, body] = bodyOf(data, text);
  const token = await tokenOf(settings.token);
  const headers = { "Content-Type": type, ...(token && { Authorization: `Bearer ${token}` }) };
  const url = endpoint(base, "http", `v1/publish/${encodeTopic(topic)}`, {});
  const timer = clock.setTimeout(() => control.abort(), publish_timeout_ms);
  const sent = fetch(url, { method: "POST", headers, body, signal }).then(readAnswer, unsure);
  return sent.finally(() => clock.clearTimeout(timer));
}

function bodyOf(data: unknown, is_text: boolean | undefined): [type: string, body: any] {
  const bytes = bytesOf(data);
  if (bytes) return ["application/octet-stream", bytes];
  return is_text ? ["text/plain", String(data)] : ["application/json", JSON.stringify(data)];
}

async function readAnswer(answer: Response): Promise<Published> {
  const { error, ...published } = await answer.json();
  if (answer.ok) return published;
  throw new GridcastError(error?.code ?? "unavailable", error?.message ?? `${answer.status}`);
}

function unsure(thrown: unknown): never {
  throw new GridcastError("unacknowledged", `${thrown}: it may have been published`);
}
