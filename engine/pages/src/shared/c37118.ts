// Reads C37.118.2 frames: data by its configuration (CFG-1, CFG-2, CFG-3), or, where none is known,
// by the one layout of floats that its length and frequency allow. Must not know topics.

export interface Phasor { name: string; unit: "V" | "A" | ""; magnitude: number; angle_deg: number }

export interface Pmu {
  id: number;
  station: string;
  stat: number;
  phasors: Phasor[];
  frequency_hz: number;
  rocof_hz_per_s: number;
  analogs: { name: string; value: number }[];
  digitals: number[];
}

export interface DataFrame { id: number; time_ms: number; is_guessed: boolean; pmus: Pmu[] }

interface Channel { name: string; unit: "V" | "A" | ""; scale: number; turn: number }

interface Station {
  id: number;
  name: string;
  format: number;
  phasors: Channel[];
  analogs: { name: string; scale: number; offset: number }[];
  digitals: number;
  nominal_hz: number;
}

export interface Configuration { time_base: number; stations: Station[] }

const DATA = 0;
const CFG1 = 2;
const CFG2 = 3;
const CFG3 = 5;
const BODY = 14;

/** Which kind of frame it is; none where it is none, or damaged. */
export function kindOf(bytes: Uint8Array): number | undefined {
  if (bytes.length < 16 || bytes[0] !== 0xaa || bytes[1] & 0x80) return undefined;
  if (viewOf(bytes).getUint16(2) !== bytes.length) return undefined;
  return (bytes[1] >> 4) & 7;
}

export function isData(bytes: Uint8Array): boolean {
  return kindOf(bytes) === DATA;
}

/** Whether its checksum is right (CRC-16 with polynomial 0x1021 from 0xFFFF). */
export function isWhole(bytes: Uint8Array): boolean {
  let crc = 0xffff;
  for (let at = 0; at < bytes.length - 2; at++) {
    crc ^= bytes[at] << 8;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
    }
  }
  return crc === viewOf(bytes).getUint16(bytes.length - 2);
}

/** The configuration in a frame; none where it is no such frame, or contradicts itself. */
export function readConfiguration(bytes: Uint8Array): Configuration | undefined {
  const kind = kindOf(bytes);
  const is_configuration = kind === CFG1 || kind === CFG2 || kind === CFG3;
  if (!is_configuration || !isWhole(bytes)) return undefined;
  try {
    return kind === CFG3 ? extended(new Reader(bytes)) : classic(new Reader(bytes));
  } catch {
    return undefined;
  }
}

/** The values of a data frame; none where it cannot be read. */
export function readData(
  bytes: Uint8Array, known: Configuration | undefined,
): DataFrame | undefined {
  if (!isData(bytes)) return undefined;
  const id = viewOf(bytes).getUint16(4);
  const configuration = known && sizeOf(known) === bytes.length ? known : guess(bytes, id);
  if (!configuration) return undefined;
  const reader = new Reader(bytes, 6);
  const seconds = reader.u32();
  const fraction = (reader.u32() & 0xff_ffff) / configuration.time_base;
  const pmus = configuration.stations.map((station) => readPmu(reader, station));
  return {
    id, time_ms: (seconds + fraction) * 1000, is_guessed: configuration !== known, pmus,
  };
}

/** STAT in words. */
export function statWords(stat: number): string[] {
  const words = [["good", "PMU error", "test or absent", "PMU error, do not use"][stat >> 14]];
  if (stat & 0x2000) words.push("not in sync");
  if (stat & 0x1000) words.push("sorted by arrival");
  if (stat & 0x0800) words.push(TRIGGERS[stat & 15] ?? "user trigger");
  if (stat & 0x0400) words.push("configuration will change");
  if (stat & 0x0200) words.push("modified");
  return words;
}

const TRIGGERS: Record<number, string> = {
  0: "manual trigger", 1: "magnitude low", 2: "magnitude high", 3: "phase angle", 4: "frequency",
  5: "rate of change of frequency", 7: "digital trigger",
};

const FLOAT_FREQUENCY = 8;
const FLOAT_ANALOG = 4;
const FLOAT_PHASOR = 2;
const POLAR = 1;

function sizeOf({ stations }: Configuration): number {
  return stations.reduce((size, { format, phasors, analogs, digitals }) => size + 2
    + phasors.length * (format & FLOAT_PHASOR ? 8 : 4) + (format & FLOAT_FREQUENCY ? 8 : 4)
    + analogs.length * (format & FLOAT_ANALOG ? 4 : 2) + digitals * 2, BODY + 2);
}

function readPmu(reader: Reader, station: Station): Pmu {
  const stat = reader.u16();
  const phasors = station.phasors.map((channel) => readPhasor(reader, channel, station.format));
  const is_float = station.format & FLOAT_FREQUENCY;
  const frequency = is_float ? reader.f32() : station.nominal_hz + reader.i16() / 1000;
  const rocof = is_float ? reader.f32() : reader.i16() / 100;
  const analogs = station.analogs.map(({ name, scale, offset }) => {
    const value = station.format & FLOAT_ANALOG ? reader.f32() : reader.i16();
    return { name, value: value * scale + offset };
  });
  const digitals = Array.from({ length: station.digitals }, () => reader.u16());
  return {
    id: station.id, station: station.name, stat, phasors, analogs, digitals,
    frequency_hz: frequency, rocof_hz_per_s: rocof,
  };
}

function readPhasor(reader: Reader, channel: Channel, format: number): Phasor {
  const { name, unit, scale, turn } = channel;
  const is_float = format & FLOAT_PHASOR;
  const is_polar = format & POLAR;
  let first = is_float ? reader.f32() : is_polar ? reader.u16() : reader.i16();
  let second = is_float ? reader.f32() : reader.i16();
  if (!is_float && (is_polar ? second : first) === -0x8000) [first, second] = [NaN, NaN];
  if (!is_float && is_polar) second /= 10_000;
  const magnitude = is_polar ? first : Math.hypot(first, second);
  const angle = (is_polar ? second : Math.atan2(second, first)) - turn;
  return { name, unit, magnitude: magnitude * (is_float ? 1 : scale), angle_deg: wrapped(angle) };
}

function wrapped(angle: number): number {
  const degrees = (angle * 180) / Math.PI;
  return degrees - 360 * Math.round(degrees / 360);
}

// ---- configurations ----

function classic(reader: Reader): Configuration {
  reader.at = BODY;
  const time_base = reader.u32() & 0xff_ffff;
  const stations = Array.from({ length: reader.u16() }, () => classicStation(reader));
  return checked({ time_base, stations });
}

function classicStation(reader: Reader): Station {
  const name = reader.text(16);
  const [id, format, phasors, analogs, digitals] = [0, 0, 0, 0, 0].map(() => reader.u16());
  const names = Array.from({ length: phasors + analogs + 16 * digitals }, () => reader.text(16));
  const station: Station = { id, name, format, phasors: [], analogs: [], digitals, nominal_hz: 60 };
  for (const channel of names.slice(0, phasors)) {
    const unit = reader.u32();
    const scale = (unit & 0xff_ffff) * 1e-5;
    station.phasors.push({ name: channel, unit: unit >>> 24 ? "A" : "V", scale, turn: 0 });
  }
  for (const channel of names.slice(phasors, phasors + analogs)) {
    const factor = (reader.u32() << 8) >> 8;
    station.analogs.push({ name: channel, scale: factor || 1, offset: 0 });
  }
  reader.at += 4 * digitals;
  station.nominal_hz = reader.u16() & 1 ? 50 : 60;
  reader.at += 2;
  return station;
}

function extended(reader: Reader): Configuration {
  reader.at = BODY;
  if (reader.u16() !== 0) throw new Error("in parts");
  const time_base = reader.u32() & 0xff_ffff;
  const stations = Array.from({ length: reader.u16() }, () => extendedStation(reader));
  return checked({ time_base, stations });
}

function extendedStation(reader: Reader): Station {
  const name = reader.text(reader.u8());
  const id = reader.u16();
  reader.at += 16;
  const [format, phasors, analogs, digitals] = [0, 0, 0, 0].map(() => reader.u16());
  const count = phasors + analogs + 16 * digitals;
  const names = Array.from({ length: count }, () => reader.text(reader.u8()));
  const station: Station = { id, name, format, phasors: [], analogs: [], digitals, nominal_hz: 60 };
  for (const channel of names.slice(0, phasors)) {
    reader.at += 2;
    const unit = reader.u8() & 8 ? "A" : "V";
    reader.at += 1;
    station.phasors.push({ name: channel, unit, scale: reader.f32(), turn: reader.f32() });
  }
  for (const channel of names.slice(phasors, phasors + analogs)) {
    station.analogs.push({ name: channel, scale: reader.f32(), offset: reader.f32() });
  }
  reader.at += 4 * digitals + 12 + 1 + 8;
  station.nominal_hz = reader.u16() & 1 ? 50 : 60;
  reader.at += 2;
  return station;
}

function checked(configuration: Configuration): Configuration {
  if (!configuration.time_base || !configuration.stations.length) throw new Error("empty");
  return configuration;
}

/** A single PMU of floats in polar form: how many phasors and digital words its length leaves is
 * decided by where a frequency stands. */
function guess(bytes: Uint8Array, id: number): Configuration | undefined {
  const room = bytes.length - BODY - 2 - 2 - 8;
  const view = viewOf(bytes);
  for (let digitals = 0; digitals <= 4; digitals++) {
    const left = room - 2 * digitals;
    if (left < 0 || left % 8) continue;
    const frequency = view.getFloat32(BODY + 2 + left);
    if (!(frequency > 40 && frequency < 70)) continue;
    const phasors = Array.from({ length: left / 8 }, (_, at): Channel => (
      { name: `phasor ${at + 1}`, unit: "", scale: 1, turn: 0 }));
    const format = FLOAT_FREQUENCY | FLOAT_ANALOG | FLOAT_PHASOR | POLAR;
    const nominal_hz = Math.abs(frequency - 50) < 5 ? 50 : 60;
    const station = { id, name: "", format, phasors, analogs: [], digitals, nominal_hz };
    return { time_base: 1_000_000, stations: [station] };
  }
  return undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Big-endian fields, one after the other; throws at the end of the frame. */
class Reader {
  #view: DataView;

  constructor(bytes: Uint8Array, public at = 0) {
    this.#view = viewOf(bytes);
  }

  u8 = (): number => this.#view.getUint8(this.#step(1));
  u16 = (): number => this.#view.getUint16(this.#step(2));
  i16 = (): number => this.#view.getInt16(this.#step(2));
  u32 = (): number => this.#view.getUint32(this.#step(4));
  f32 = (): number => this.#view.getFloat32(this.#step(4));

  text(length: number): string {
    const from = this.#step(length);
    const { buffer, byteOffset, byteLength } = this.#view;
    if (from + length > byteLength) throw new Error("cut off");
    const text = new TextDecoder().decode(new Uint8Array(buffer, byteOffset + from, length));
    return text.replace(/[\0\s]+$/, "");
  }

  #step(size: number): number {
    const at = this.at;
    this.at += size;
    return at;
  }
}
