// The last values of something, in memory that never grows. Owns one array, made once.

export class Ring {
  readonly #values: Float64Array;
  #next = 0;
  #count = 0;

  constructor(readonly capacity: number) {
    this.#values = new Float64Array(capacity);
  }

  get length(): number {
    return this.#count;
  }

  /** What is not known is NaN. */
  push(value: number): void {
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.capacity;
    this.#count = Math.min(this.#count + 1, this.capacity);
  }

  /** 0 is the oldest. */
  at(index: number): number {
    return this.#values[(this.#next - this.#count + index + this.capacity) % this.capacity];
  }

  /** The newest; NaN where there is none. */
  get last(): number {
    return this.#count ? this.at(this.#count - 1) : NaN;
  }

  /** Replaces the newest. */
  amend(value: number): void {
    if (!this.#count) return this.push(value);
    this.#values[(this.#next - 1 + this.capacity) % this.capacity] = value;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Fills `into` from the right: what is not known there is null, a gap for charts. */
  fill(into: (number | null)[]): void {
    const missing = into.length - this.#count;
    for (let at = 0; at < into.length; at++) {
      const value = at < missing ? NaN : this.at(at - missing);
      into[at] = Number.isNaN(value) ? null : value;
    }
  }
}
