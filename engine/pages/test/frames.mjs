// C37.118 frames for tests: a configuration and data that fit each other, by an encoder of their
// own. Must not share code with the decoder of the pages.

const NAMES = ["VA", "VB", "VC", "V1", "IA", "IB", "IC", "I1"];

/** A frame from its kind, IDCODE, time and the fields of its body. */
function frame(kind, id, unix_s, fraction, body) {
  const bytes = Buffer.alloc(16 + body.length);
  bytes.writeUInt8(0xaa, 0);
  bytes.writeUInt8((kind << 4) | 1, 1);
  bytes.writeUInt16BE(bytes.length, 2);
  bytes.writeUInt16BE(id, 4);
  bytes.writeUInt32BE(unix_s, 6);
  bytes.writeUInt32BE(fraction, 10);
  body.copy(bytes, 14);
  let crc = 0xffff;
  for (const byte of bytes.subarray(0, -2)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  bytes.writeUInt16BE(crc, bytes.length - 2);
  return bytes;
}

const u16 = (...values) => Buffer.concat(values.map((value) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
}));
const u32 = (...values) => Buffer.concat(values.map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}));
const f32 = (...values) => Buffer.concat(values.map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatBE(value);
  return bytes;
}));
const name = (text) => Buffer.from(text.padEnd(16));

/** The CFG-2 of a PMU with eight float phasors and a digital word. */
export function configuration(id, station, unix_s = 1_767_225_600) {
  const digitals = Array.from({ length: 16 }, (_, at) => name(`DIG${`${at}`.padStart(2, "0")}`));
  return frame(3, id, unix_s, 0, Buffer.concat([
    u32(1_000_000), u16(1), name(station), u16(id, 0x000f, 8, 0, 1),
    ...NAMES.map(name), ...digitals, u32(...Array(4).fill(100_000)),
    u32(...Array(4).fill(0x010186a0)), u16(0, 0xffff, 0, 1, 60),
  ]));
}

/** Its data. */
export function data(id, { hz, rocof = 0, turn = 0, stat = 0, unix_s = 1_767_225_600, fraction = 0 }) {
  const third = (2 * Math.PI) / 3;
  const angles = [0, -third, third, 0].map((angle) => angle + turn);
  const phasors = [...angles.map((angle) => [79_674.34, angle]),
    ...angles.map((angle) => [500, angle - 0.5])];
  return frame(0, id, unix_s, fraction, Buffer.concat([
    u16(stat), f32(...phasors.flat()), f32(hz, rocof), u16(1),
  ]));
}

/** The same as fixed-point numbers in polar form, of a PMU with one voltage at 50 Hz. */
export function fixed(id, { millihertz, unix_s = 1_767_225_600 }) {
  const cfg = frame(3, id, unix_s, 0, Buffer.concat([
    u32(1_000_000), u16(1), name("FIXED"), u16(id, 0x0001, 1, 0, 0), name("VA"),
    u32(1_000_000), u16(1, 1, 50),
  ]));
  const body = Buffer.concat([u16(0, 23_040, 15_708, millihertz, 3)]);
  return { cfg, data: frame(0, id, unix_s, 20_000, body) };
}
