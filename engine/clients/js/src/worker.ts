// One socket for all tabs of an origin, by a shared worker; where there is none, or its script does
// not load, a connection of the tab's own behind the same interface. Must not share anything
// itself.

import { HubDoor } from "./hub-door.js";
import { TabClient, type Way } from "./tab.js";
import type { AnyTopics, ClientOptions, FeedClient } from "./types.js";

export interface SharedOptions extends ClientOptions {
  /** Where the page's own origin serves `@gridcast/client/shared-worker.js`. */
  script: string | URL;
  /** Tabs with another name have another socket: those of another user, say. */
  name?: string;
  /** How long the script may take to load. */
  script_timeout_ms?: number;
}

/** A client that shares its socket with all tabs that give the same URL and name. */
export function sharedClient<M = AnyTopics>(
  url: string | URL, { script, name = "", script_timeout_ms = 5_000, ...options }: SharedOptions,
): FeedClient<M> {
  const shares = typeof SharedWorker === "function" && !!globalThis.navigator?.locks;
  let is_broken = !shares;
  return new TabClient<M>(url, options, async () => {
    if (!is_broken) {
      const worker = startWorker(script, `gridcast ${url} ${name}`);
      if (await loads(worker, script_timeout_ms)) return wayTo(worker.port);
      is_broken = true;
      console.warn(`gridcast: ${script} does not run as a shared worker: this tab connects itself`);
    }
    return wayInside(options);
  });
}

function startWorker(script: string | URL, name: string): SharedWorker {
  const worker = new SharedWorker(script, { name });
  worker.port.start();
  return worker;
}

/** The hub's door says that it is open as soon as a tab connects. */
function loads(worker: SharedWorker, timeout_ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), timeout_ms);
    const tell = (is_loaded: boolean) => () => (clearTimeout(timer), resolve(is_loaded));
    worker.onerror = tell(false);
    worker.port.onmessage = tell(true);
  });
}

async function wayTo(port: MessagePort): Promise<Way> {
  const lock = `gridcast-tab-${crypto.randomUUID()}`;
  const release = await hold(lock);
  return {
    port, lock, leave: release,
    outlived: (hub_lock) => navigator.locks.request(hub_lock, () => {}),
  };
}

/** Answers, once the lock is held, what gives it back. */
function hold(lock: string): Promise<() => void> {
  return new Promise((held) => {
    void navigator.locks.request(lock, () => new Promise<void>((release) => held(release)));
  });
}

/** A hub of the tab's own. */
async function wayInside(options: ClientOptions): Promise<Way> {
  const { port1, port2 } = new MessageChannel();
  const { WebSocket, clock, page } = options;
  const given = { WebSocket, clock, page };
  const present = Object.entries(given).filter(([, value]) => value !== undefined);
  new HubDoor(Object.fromEntries(present)).accept(port2);
  return { port: port1, leave: () => setTimeout(() => port1.close()) };
}
