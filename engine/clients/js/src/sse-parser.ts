// Text of an event stream in, events out (the rules of the HTML standard). Must not know what the
// events mean.

export interface StreamEvent { type: string; data: string; id: string; topic?: string }

export interface ParserCalls {
  event(event: StreamEvent): void;
  comment(): void;
  retry(delay_ms: number): void;
}

export class SseParser {
  #calls: ParserCalls;
  #rest = "";
  #id = "";
  #type = "";
  #data: string[] = [];

  constructor(calls: ParserCalls) {
    this.#calls = calls;
  }

  push(text: string): void {
    // The line break that the text ends with may be the first half of one.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop()!;
    lines.forEach((line) => this.#line(line));
  }

  #line(line: string): void {
    if (!line) return this.#dispatch();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)!;
    if (field === "") this.#calls.comment();
    else if (field === "id") this.#id = value!;
    else if (field === "event") this.#type = value!;
    else if (field === "data") this.#data.push(value!);
    else if (field === "retry" && /^\d+$/.test(value!)) this.#calls.retry(Number(value));
  }

  #dispatch(): void {
    const event = { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    const is_event = this.#data.length > 0;
    this.#type = "";
    this.#data = [];
    if (is_event) this.#calls.event(event);
  }
}
