// Payload types per topic: each line marked must not compile, all others must.

import { Client, type FeedClient, type Message } from "@gridcast/client";
import { SseClient } from "@gridcast/client/sse";
import { sharedClient } from "@gridcast/client/worker";
import { feedHook } from "@gridcast/client/react";

interface Pmu { hz: number }
interface Topics {
  alarms: { text: string };
  [topic: `pmu/${string}`]: Pmu;
  raw: Uint8Array;
}

const clients: FeedClient<Topics>[] = [
  new Client<Topics>("wss://host"),
  new SseClient<Topics>("https://host", { heartbeat_ms: 1_000 }),
  sharedClient<Topics>("https://host", { script: "/shared-worker.js" }),
];

for (const client of clients) {
  client.subscribe("alarms", ({ data }) => data.text.length);
  client.subscribe("pmu/1001", ({ data, seq }) => data.hz + seq);
  client.subscribe("pmu/+", (message: Message<Pmu>) => message.pattern?.length);
  // @ts-expect-error: an alarm has no frequency
  client.subscribe("alarms", ({ data }) => data.hz);
  // @ts-expect-error: nobody knows what this topic carries
  client.subscribe("other", ({ data }) => data.hz);
  client.subscribe("other", ({ data }) => String(data));
  void client.publish("raw", Uint8Array.of(1)).then(({ subscribers }) => subscribers + 1);
  // @ts-expect-error: a frequency is a number
  void client.publish("pmu/1001", { hz: "50" });
  // @ts-expect-error: there is no such mode
  client.subscribe("raw", () => {}, { mode: "newest" });
  client.on("gap", ({ topic, frames }) => topic.length + (frames ?? 0));
  client.on("close", ({ reconnect }) => reconnect === "later");
  // @ts-expect-error: there is no such event
  client.on("gone", () => {});
}

// Without a map anything goes.
new Client("wss://host").subscribe("any", ({ data }) => data.anything);
// @ts-expect-error: an option that is none
new Client("wss://host", { reconnect: 5 });

const useFeed = feedHook<Topics>();
export const hz = (): number | undefined => useFeed("pmu/1001").data?.hz;
// @ts-expect-error: an alarm has no frequency
export const wrong = (): unknown => useFeed("alarms").data?.hz;
