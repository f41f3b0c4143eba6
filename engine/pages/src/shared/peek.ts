// The newest message of a topic, once. Owns how long is waited for it: a topic that nobody has
// published to has none.

import type { Client } from "../../../clients/js/src/index.js";

const WAIT_MS = 2_000;

/** None where nothing came in time, or it may not be seen. */
export function peek(client: Client, topic: string): Promise<unknown> {
  return new Promise((resolve) => {
    const done = (data: unknown): void => {
      clearTimeout(timer);
      feed.close();
      resolve(data);
    };
    const timer = setTimeout(() => done(undefined), WAIT_MS);
    const feed = client.subscribe(topic, ({ data }) => done(data), { from: "last" });
    feed.on("error", () => done(undefined));
    feed.on("gap", () => {});
  });
}
