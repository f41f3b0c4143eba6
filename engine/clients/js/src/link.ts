// One WebSocket from its opening to its end, which is told once. Owns the greeting and the pulse.
// Must not reconnect, or know what messages are about.

import { ABNORMAL } from "./closes.js";
import { Pulse } from "./pulse.js";
import type { Settings } from "./settings.js";
import type { SocketLike } from "./types.js";

export interface Hello {
  version: string;
  heartbeat_ms: number;
  epoch: string;
  message_bytes_max?: number;
}

export interface LinkCalls {
  opened(hello: Hello, protocol: string): void;
  told(message: any): void;
  frame(bytes: Uint8Array): void;
  ended(code: number, reason: string): void;
}

export class Link {
  #socket: SocketLike;
  #settings: Settings;
  #calls: LinkCalls;
  #pulse: Pulse | undefined;

  constructor(socket: SocketLike, settings: Settings, calls: LinkCalls) {
    this.#socket = socket;
    this.#settings = settings;
    this.#calls = calls;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = ({ code, reason }) => this.end(code || ABNORMAL, reason);
    // A close follows. It stays: `ws` throws an error that nobody listens to.
    socket.onerror = () => {};
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  check(): void {
    this.#pulse?.check();
  }

  /** Without a word to whoever made it. */
  close(): void {
    this.#pulse?.stop();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }

  end(code: number, reason: string): void {
    this.close();
    this.#calls.ended(code, reason);
  }

  #take(data: string | ArrayBuffer): void {
    this.#pulse?.heard();
    try {
      if (typeof data === "string") this.#told(JSON.parse(data));
      else this.#calls.frame(new Uint8Array(data));
    } catch (thrown) {
      this.end(ABNORMAL, `unreadable: ${thrown}`);
    }
  }

  #told(message: any): void {
    if (message.hello) this.#greeted(message.hello);
    else if (!message.beat && message.id !== PROBE_ID) this.#calls.told(message);
  }

  #greeted(hello: Hello): void {
    const dead = (reason: string) => this.end(ABNORMAL, reason);
    this.#pulse = new Pulse(this.#settings, hello.heartbeat_ms, () => this.send(PROBE), dead);
    this.#calls.opened(hello, this.#socket.protocol);
  }
}

// A page cannot send pings. This changes nothing, and the refusal shows that the server lives.
const PROBE_ID = "check";
const PROBE = JSON.stringify({ id: PROBE_ID, unsubscribe: { topic: "$check" } });
