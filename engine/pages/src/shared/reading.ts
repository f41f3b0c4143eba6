// A message as people read it: JSON as it is, C37.118 decoded, other bytes in hexadecimal. Owns the
// form in which a frame is shown. Must not subscribe to anything.

import {
  type Configuration, isData, isWhole, readConfiguration, readData, statWords,
} from "./c37118.js";
import { fixed } from "./format.js";

const BYTES_SHOWN = 512;
const PREVIEW_MAX = 200;

export interface Readable { kind: string; value: unknown; bytes?: string }

export function readable(data: unknown, known?: Configuration): Readable {
  if (!(data instanceof Uint8Array)) {
    return { kind: typeof data === "string" ? "text" : "JSON", value: data };
  }
  const frame = readData(data, known);
  if (frame) {
    const how = frame.is_guessed ? "C37.118 data, layout guessed" : "C37.118 data";
    const kind = isWhole(data) ? how : `${how}, wrong checksum`;
    return { kind, value: asJson(frame), bytes: hex(data) };
  }
  const configuration = readConfiguration(data);
  if (configuration) return { kind: "C37.118 configuration", value: configuration };
  return { kind: `${data.length} bytes`, value: undefined, bytes: hex(data) };
}

/** One line of it. */
export function preview(data: unknown): string {
  if (data === undefined) return "";
  if (!(data instanceof Uint8Array)) {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    return text.slice(0, PREVIEW_MAX);
  }
  const frame = isData(data) ? readData(data, undefined) : undefined;
  if (frame) {
    const [{ frequency_hz, stat }] = frame.pmus;
    return `C37.118 ${frame.id}: ${fixed(frequency_hz, 4)} Hz, ${statWords(stat).join(", ")}`;
  }
  const kind = readConfiguration(data) ? "C37.118 configuration" : "";
  return `${kind || `${data.length} bytes`} ${hex(data.subarray(0, 24)).slice(6)}`.trim();
}

function asJson({ time_ms, pmus }: NonNullable<ReturnType<typeof readData>>): unknown {
  const all = pmus.map(({ id, station, stat, phasors, digitals, analogs, ...values }) => ({
    id,
    ...(station && { station }),
    time: new Date(time_ms).toISOString(),
    stat: statWords(stat).join(", "),
    ...values,
    phasors: Object.fromEntries(phasors.map(({ name, unit, magnitude, angle_deg }) => (
      [name, { magnitude, ...(unit && { unit }), angle_deg }]))),
    ...(analogs.length && { analogs: Object.fromEntries(analogs.map((a) => [a.name, a.value])) }),
    digitals: digitals.map((word) => `0x${word.toString(16).padStart(4, "0")}`),
  }));
  return all.length === 1 ? all[0] : Object.fromEntries(all.map((one) => [one.id, one]));
}

/** Rows of sixteen, with their place. */
function hex(bytes: Uint8Array): string {
  const rows: string[] = [];
  for (let at = 0; at < Math.min(bytes.length, BYTES_SHOWN); at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0"));
    rows.push(`${at.toString(16).padStart(4, "0")}  ${row.join(" ")}`);
  }
  if (bytes.length > BYTES_SHOWN) rows.push(`… ${bytes.length - BYTES_SHOWN} more bytes`);
  return rows.join("\n");
}
