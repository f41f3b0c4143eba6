// Listeners of named events. Must not know any event by name.

import { isolated } from "./isolated.js";

export class Emitter<E> {
  #listeners = new Set<[event: keyof E, listener: (told: any) => void]>();

  on<K extends keyof E>(event: K, listener: (told: E[K]) => void): () => void {
    const entry: [K, typeof listener] = [event, listener];
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** Answers whether anybody listened. */
  emit<K extends keyof E>(event: K, told: E[K]): boolean {
    const listening = [...this.#listeners].filter(([name]) => name === event);
    for (const [, listener] of listening) isolated(() => listener(told));
    return !!listening.length;
  }
}
