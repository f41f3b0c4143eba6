// Where tabs come to the hub: greets each, carries out what it says, and notices when it is gone.
// Must not decide what is shared.

import { Hub } from "./hub.js";
import { Member } from "./hub-member.js";
import { type FromTab, type Hi, type ToTab, plainError } from "./hub-wire.js";
import type { ClientOptions } from "./types.js";

interface Tab {
  port: MessagePort;
  members: Map<number, Member>;
  has_token: boolean;
  post(message: ToTab): void;
}

export class HubDoor {
  #options: ClientOptions;
  #tabs = new Set<Tab>();
  #hub: Hub | undefined;
  #lock = typeof navigator === "object" && navigator.locks ? holdLock() : undefined;
  #wanted: ((token: NonNullable<FromTab["token"]>) => void)[] = [];

  /** `options` are those that a tab cannot pass on: classes and functions. */
  constructor(options: ClientOptions = {}) {
    this.#options = options;
  }

  accept(port: MessagePort): void {
    const post = (message: ToTab) => port.postMessage(message);
    const tab: Tab = { port, members: new Map(), has_token: false, post };
    port.onmessage = ({ data }) => this.#told(tab, data);
    post({ open: true });
  }

  #told(tab: Tab, said: FromTab): void {
    if (said.hi) return this.#greet(tab, said.hi);
    if (!this.#tabs.has(tab) || !this.#hub) return; // gone already
    const { subscribe, unsubscribe, taken, publish, token } = said;
    if (subscribe) this.#subscribe(tab, this.#hub, subscribe);
    else if (unsubscribe !== undefined) this.#unsubscribe(tab, this.#hub, unsubscribe);
    else if (taken) tab.members.get(taken.n)?.taken(taken.count);
    else if (publish) void this.#publish(tab, this.#hub, publish);
    else if (token) this.#wanted.splice(0).forEach((answer) => answer(token));
    else if (said.connect) this.#hub.client.connect();
    else if (said.check) this.#hub.check();
    else if (said.bye) this.#leave(tab);
  }

  #greet(tab: Tab, { url, options, has_token, lock }: Hi): void {
    this.#tabs.add(tab);
    tab.has_token = has_token;
    this.#hub ??= this.#open(url, options as ClientOptions, has_token);
    tab.post({ welcome: this.#lock ? { lock: this.#lock } : {} });
    tab.post({ event: { event: "state", told: { state: this.#hub.client.state } } });
    if (lock) void navigator.locks.request(lock, () => this.#leave(tab));
  }

  #open(url: string, options: ClientOptions, has_token: boolean): Hub {
    const token = has_token ? { token: () => this.#token() } : {};
    // Animation frames are the tabs'.
    const clock = { ...this.#options.clock, frame: (run: () => void) => queueMicrotask(run) };
    return new Hub(url, { ...this.#options, ...options, ...token, clock }, {
      event: (event, told) => this.#tellAll(event, told),
      failed: (member, error, retry) => {
        const tab = [...this.#tabs].find((tab) => tab.members.get(member.n) === member);
        tab?.post({ failed: { n: member.n, error: plainError(error), retry } });
      },
    });
  }

  #tellAll(event: NonNullable<ToTab["event"]>["event"], told: any): void {
    const plain = told.error ? { ...told, error: plainError(told.error) } : told;
    this.#tabs.forEach((tab) => tab.post({ event: { event, told: plain } }));
  }

  /** Every tab that can is asked: the first answer counts, and a tab may be frozen. */
  async #token(): Promise<string | undefined> {
    const answer = new Promise<NonNullable<FromTab["token"]>>((resolve) => {
      this.#wanted.push(resolve);
    });
    for (const tab of this.#tabs) if (tab.has_token) tab.post({ token_wanted: true });
    const { token, error } = await answer;
    if (error) throw new Error(error.message);
    return token;
  }

  #subscribe(tab: Tab, hub: Hub, asked: NonNullable<FromTab["subscribe"]>): void {
    const member = new Member(asked, tab.post);
    tab.members.set(member.n, member);
    try {
      hub.join(member);
    } catch (thrown) {
      tab.post({ failed: { n: member.n, error: plainError(thrown), retry: "never" } });
    }
  }

  #unsubscribe(tab: Tab, hub: Hub, n: number): void {
    const member = tab.members.get(n);
    tab.members.delete(n);
    if (member) hub.leave(member);
  }

  async #publish(tab: Tab, hub: Hub, asked: NonNullable<FromTab["publish"]>): Promise<void> {
    const { n, topic, data, options } = asked;
    const answer = hub.publish(topic, data, options);
    await answer.then(
      (published) => tab.post({ published: { n, published } }),
      (thrown) => tab.post({ published: { n, error: plainError(thrown) } }),
    );
  }

  #leave(tab: Tab): void {
    if (!this.#tabs.delete(tab)) return;
    tab.members.forEach((member) => this.#hub?.leave(member));
    tab.port.close();
    if (this.#tabs.size) return;
    this.#hub?.close();
    this.#hub = undefined;
  }
}

/** Held until this worker is gone; answers its name. */
function holdLock(): string {
  const name = `gridcast-hub-${crypto.randomUUID()}`;
  void navigator.locks.request(name, () => new Promise(() => {}));
  return name;
}
