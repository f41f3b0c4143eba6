// What goes over the wire, in both subprotocols: payloads in and out, binary envelopes in. Must not
// know connections or subscriptions.

/** One binary message of `gridcast.v1.bin`. */
export interface Envelope { feed: number; seq: number; is_text: boolean; payload: Uint8Array }

export const BINARY = "gridcast.v1.bin";
export const JSON_TEXT = "gridcast.v1.json";

export function readEnvelope(bytes: Uint8Array): Envelope {
  const [feed, at] = readVarint(bytes, 0);
  const [seq, flags_at] = readVarint(bytes, at);
  const flags = bytes[flags_at] ?? cutOff();
  return { feed, seq, is_text: !!(flags & 1), payload: bytes.subarray(flags_at + 1) };
}

// Not by shifts: those are of 32 bits.
function readVarint(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++] ?? cutOff();
    value += (byte & 127) * scale;
    if (byte < 128) return [value, at];
  }
}

function cutOff(): never {
  throw Error("cut off");
}

export function readPayload({ is_text, payload }: Envelope): unknown {
  return is_text ? readText(decoder.decode(payload)) : payload;
}

/** JSON is its value, other text is itself: the same as what a JSON envelope says. */
export function readText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The payload in a JSON envelope. */
export function readData(envelope: { data?: unknown; data64?: string }): unknown {
  return envelope.data64 === undefined ? envelope.data : fromBase64(envelope.data64);
}

/** The fields of a publish that say what is published. */
export function payloadFields(data: unknown, text?: boolean): object {
  const bytes = bytesOf(data);
  if (bytes) return { data64: toBase64(bytes) };
  return text ? { data, text } : { data };
}

export function bytesOf(data: unknown): Uint8Array | undefined {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (!ArrayBuffer.isView(data)) return undefined;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

function toBase64(bytes: Uint8Array): string {
  let chars = "";
  for (const byte of bytes) chars += String.fromCharCode(byte);
  return btoa(chars);
}

// A byte order mark is part of a payload.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
