// The decoder of C37.118 frames, held against frames of another encoder and bytes from elsewhere.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { configuration, data, fixed } from "./frames.mjs";

const folder = mkdtempSync(join(tmpdir(), "gridcast-pages-"));
const outfile = join(folder, "c37118.mjs");
const entry = fileURLToPath(new URL("../src/shared/c37118.ts", import.meta.url));
await build({ entryPoints: [entry], outfile, bundle: true, format: "esm" });
const { isWhole, readConfiguration, readData } = await import(pathToFileURL(outfile).href);
after(() => rmSync(folder, { recursive: true }));

// A frame that a public dissector called whole: 8 float phasors, 59.98 Hz, -0.01 Hz/s.
const KNOWN = Buffer.from([
  "aa01005c03e96955b9000000411b0000479b9d2c00000000479b9d2cc0060a92479b9d2c40060a92",
  "479b9d2c0000000043fa0000bf00000043fa0000c0260a9243fa00003fcc152443fa0000bf000000",
  "426feb85bc23d70a0001ea9f",
].join(""), "hex");

test("floats are read by their configuration, and as well as they can without", () => {
  const known = readConfiguration(configuration(1001, "SIM-SUB-0001"));
  const [by_guess, by_configuration] = [undefined, known].map((cfg) => readData(KNOWN, cfg));
  for (const frame of [by_guess, by_configuration]) {
    const [pmu] = frame.pmus;
    assert.equal(frame.id, 1001);
    assert.equal(frame.time_ms, 1_767_225_600_016.667);
    assert.ok(Math.abs(pmu.frequency_hz - 59.98) < 1e-5);
    assert.ok(Math.abs(pmu.rocof_hz_per_s + 0.01) < 1e-8);
    assert.equal(pmu.phasors.length, 8);
    assert.ok(Math.abs(pmu.phasors[1].angle_deg + 120) < 1e-3);
  }
  assert.deepEqual([by_guess.is_guessed, by_configuration.is_guessed], [true, false]);
  const [pmu] = by_configuration.pmus;
  assert.equal(pmu.station, "SIM-SUB-0001");
  const units = pmu.phasors.map(({ name, unit }) => name + unit);
  assert.equal(units.join(), "VAV,VBV,VCV,V1V,IAA,IBA,ICA,I1A");
  assert.ok(isWhole(KNOWN));
});

test("fixed-point numbers are scaled", () => {
  const { cfg, data: bytes } = fixed(2001, { millihertz: -12 });
  const [pmu] = readData(bytes, readConfiguration(cfg)).pmus;
  assert.ok(Math.abs(pmu.frequency_hz - 49.988) < 1e-9);
  assert.ok(Math.abs(pmu.phasors[0].magnitude - 230_400) < 1e-6);
  assert.ok(Math.abs(pmu.phasors[0].angle_deg - 90) < 0.01);
});

test("what is damaged, cut or no frame is never read, and never throws", () => {
  const cfg = configuration(1, "A");
  const frame = data(1, { hz: 60 });
  for (const bytes of [cfg, frame]) {
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      assert.equal(readConfiguration(cut), undefined);
      assert.equal(readData(cut, undefined), undefined);
    }
  }
  const damaged = Buffer.from(cfg);
  damaged[40] ^= 1;
  assert.equal(readConfiguration(damaged), undefined);
  let state = 1;
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(round % 2 ? cfg : frame);
    for (let flips = 0; flips < 4; flips++) {
      state = (state * 48_271) % 2_147_483_647;
      bytes[state % bytes.length] = state >> 8;
    }
    readConfiguration(bytes);
    readData(bytes, readConfiguration(cfg));
  }
});
