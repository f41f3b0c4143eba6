// A class of sockets that do what a test says, for what a server does not do when asked. Must not
// stand in for the server where that can be had.

/** Greets, then closes with these, one a connection; the last one again and again. */
export function closing(...closes) {
  return class {
    static opened = 0;
    protocol = "gridcast.v1.bin";

    constructor() {
      const at = Math.min(this.constructor.opened++, closes.length - 1);
      const [code, reason] = closes[at];
      queueMicrotask(() => {
        this.onmessage?.({ data: HELLO });
        this.onclose?.({ code, reason });
      });
    }

    send() {}
    close() {}
  };
}

/** Greets and stays; the last one made is at hand. */
export class Greeting {
  static last;
  protocol = "gridcast.v1.bin";

  constructor() {
    Greeting.last = this;
    queueMicrotask(() => this.onmessage?.({ data: HELLO }));
  }

  send() {}
  close() {}
}

/** No connection is ever made. */
export class Refused {
  constructor() {
    queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
  }

  close() {}
}

const HELLO = JSON.stringify({ hello: { version: "0", heartbeat_ms: 15_000, epoch: "e" } });
