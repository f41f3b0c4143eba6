// Aligned ticks: of each instant, how many arrived and who is missing. Where nobody aligns, how
// many PMUs were heard in each second. Owns the last of them, in a ring.

import { Ring } from "../shared/ring.js";

/** Ticks that are shown: those of the last minutes, so far as there is room. */
export const TICKS_KEPT = 1_200;

export interface Tick { arrived: number; members: number; missing: string[] }

export class Ticks {
  readonly arrived = new Ring(TICKS_KEPT);
  readonly members = new Ring(TICKS_KEPT);
  is_aligned = false;
  whole = 0;
  counted = 0;
  newest: Tick | undefined;

  take(data: unknown): void {
    const tick = data instanceof Uint8Array ? binary(data) : json(data);
    if (!tick) return;
    if (!this.is_aligned) {
      this.is_aligned = true;
      this.arrived.clear();
      this.members.clear();
      this.whole = this.counted = 0;
    }
    this.#add(tick);
  }

  /** A second of a wall without aligned ticks. */
  second(arrived: number, members: number): void {
    if (!this.is_aligned && members > 0) this.#add({ arrived, members, missing: [] });
  }

  #add(tick: Tick): void {
    this.newest = tick;
    this.arrived.push(tick.arrived);
    this.members.push(tick.members);
    this.counted++;
    if (tick.arrived >= tick.members) this.whole++;
  }
}

function json(data: unknown): Tick | undefined {
  const { arrived, members, missing, group } = (data ?? {}) as Record<string, any>;
  const is_tick = typeof arrived === "number" && typeof members === "number";
  if (!is_tick || group === undefined) return undefined;
  return { arrived, members, missing: Array.isArray(missing) ? missing : [] };
}

const HEAD = 13;

/** The layout of version 1: the names of those who are missing stand behind what arrived. */
function binary(bytes: Uint8Array): Tick | undefined {
  if (bytes.length < HEAD || bytes[0] !== 1) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [arrived, absent] = [view.getUint16(9), view.getUint16(11)];
  const missing: string[] = [];
  try {
    let at = HEAD;
    for (let left = arrived; left > 0; left--) {
      at += 1 + view.getUint8(at) + 1;
      at += 4 + view.getUint32(at);
    }
    for (let left = absent; left > 0; left--) {
      const length = view.getUint8(at);
      missing.push(new TextDecoder().decode(bytes.subarray(at + 1, at + 1 + length)));
      at += 1 + length;
    }
  } catch {
    return undefined;
  }
  return { arrived, members: arrived + absent, missing };
}
