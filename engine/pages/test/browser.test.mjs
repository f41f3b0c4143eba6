// Both pages in Chromium, against a real server: three widths, dark and light, with live data. No
// error in the console, nothing that axe calls serious, no page wider than its window; and both go
// on after a restart. With SHOTS, a folder, pictures are kept there.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import puppeteer from "puppeteer-core";
import { Server, simulate } from "./server.mjs";

const WAIT_MS = 60_000;
const SIZES = [[390, 844], [1280, 800], [3840, 2160]];
const SCHEMES = ["light", "dark"];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SHOTS = process.env.SHOTS;
const TILES = "tile=dial&tile=frequency,w=8&tile=missing&tile=gauge,topic=plant/1,field=power.mw,min=0,max=600,"
  + "label=Power,unit=MW&tile=sparkline,topic=plant/1,field=power.mvar,unit=Mvar&tile=number,topic=plant/1,"
  + "field=speed,digits=2,label=Speed,unit=rpm&tile=series,topic=plant/1,field=power.mw|power.mvar,w=8,h=1"
  + "&tile=ticks,w=12&minutes=1";
if (SHOTS) mkdirSync(SHOTS, { recursive: true });

let server, browser, stop;

before(async () => {
  server = await Server.start();
  stop = simulate(server, { missing: [{ id: 1005, from: 4, to: 6 }, { id: 1013, from: 8, to: 1e9 }] });
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
    protocolTimeout: 2 * WAIT_MS,
  });
});

after(async () => {
  stop?.();
  await browser?.close();
  await server?.kill();
});

async function open(url, [width, height] = SIZES[1], scheme = "dark") {
  const page = await browser.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(`${error}`));
  page.on("console", (said) => ["error", "warn"].includes(said.type()) && page.errors.push(said.text()));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "data:" && origin !== new URL(url).origin) page.errors.push(`asks ${request.url()}`);
  });
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url, { waitUntil: "load" });
  return page;
}

const wall = (query = "") => `http://${server.public}/wall${query && `?${query}`}`;
const console_ = () => `http://${server.admin}/console`;
const says = (page, selector, pattern) => page.waitForFunction(
  (at, source) => new RegExp(source).test(document.querySelector(at)?.textContent ?? ""),
  { polling: 100 }, selector, pattern.source);
const shot = (page, name) => SHOTS && page.screenshot({ path: join(SHOTS, `${name}.png`) });

/** What may be said of any page at any size. */
async function judge(page, name) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `${name}: ${wide} px of page in a window of ${window}`);
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => (await axe.run()).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target }) => target).join(", ")}`));
  assert.deepEqual(found, [], name);
  assert.deepEqual(page.errors, [], name);
}

for (const size of SIZES) {
  for (const scheme of SCHEMES) {
    const where = `${size[0]}-${scheme}`;
    test(`the wall at ${where}`, async () => {
      for (const [name, query] of [["wall", ""], ["tiles", TILES]]) {
        const page = await open(wall(query), size, scheme);
        await says(page, "#heard", /^\d+ of 25 PMUs heard/);
        await says(page, "#link", /^live$/);
        await says(page, ".tile.ticks header p", /% whole/);
        await says(page, "#note", /missing: (SUBSTATION-)?1013/);
        await page.waitForFunction(() => document.querySelectorAll(".uplot canvas").length > 0);
        await shot(page, `${name}-${where}`);
        await judge(page, `${name} ${where}`);
        await page.close();
      }
    });

    test(`the console at ${where}`, async () => {
      const page = await open(console_(), size, scheme);
      await says(page, "#rows", /pmu\/north\/1001\/json/);
      await says(page, ".figure:nth-child(3) b", /[1-9]/);
      await page.evaluate(() => [...document.querySelectorAll("#rows button")]
        .find((button) => button.textContent === "pmu/north/1001/json").click());
      await says(page, "#tree", /frequency_hz/);
      await page.waitForFunction(() => document.querySelectorAll("#series canvas").length > 0);
      await says(page, "#facts", /JSON · seq \d+/);
      await says(page, ".preview", /\w/);
      await shot(page, `console-${where}`);
      if (SHOTS) await page.screenshot({ path: join(SHOTS, `console-${where}-whole.png`), fullPage: true });
      await judge(page, `console ${where}`);
      await page.close();
    });
  }
}

test("frames are decoded, and the console pauses, resumes and publishes", async () => {
  const page = await open(console_());
  await page.type("#look-topic", "pmu/south/2001");
  await page.click("#look-form button");
  await says(page, "#facts", /C37.118 data · seq/);
  await says(page, "#tree", /SOUTH-2001.*V1/s);
  await page.click("#pause");
  await says(page, "#facts", /paused/);
  await page.click("#pause");
  await says(page, "#pause", /^Pause$/);
  await page.click("summary");
  await page.$eval("#publish-topic", (field) => { field.value = "test/page"; });
  await page.click("#publish button");
  await says(page, "#published", /^published as \w+-1, to 0 subscribers$/);
  await page.$eval("#search", (field) => {
    field.value = "test/+";
    field.dispatchEvent(new Event("input"));
  });
  await page.waitForFunction(() => document.querySelectorAll("#rows tr").length === 1);
  await says(page, "#rows", /test\/page/);
  await judge(page, "console");
  await page.close();
});

test("the keyboard chooses a PMU", async () => {
  const page = await open(wall());
  await says(page, "#heard", /25 PMUs/);
  await page.focus(".pmus button");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await says(page, ".tile.dial header p", /SUBSTATION-100\d/);
  await page.waitForFunction(() => document.querySelectorAll('.pmus [aria-pressed="true"]').length === 1);
  await shot(page, "wall-chosen");
  await page.keyboard.press("Escape");
  await says(page, ".tile.dial header p", /spread/);
  await page.close();
});

test("a layout that is wrong is told, and one on a topic is followed", async () => {
  const wrong = await open(wall("tile=gauge"));
  await says(wrong, ".error", /tile gauge: needs a topic/);
  await wrong.close();
  await server.publish({ "wall/main": { title: "North", tiles: [{ kind: "number", topic: "plant/1", field: "speed" }] } });
  const page = await open(wall("layout-topic=wall/main"));
  await says(page, "#title", /^North$/);
  await says(page, ".value", /\d/);
  const changed = { title: "South", tiles: [{ kind: "number", topic: "plant/1", field: "speed" }] };
  await server.publish({ "wall/main": changed });
  await says(page, "#title", /^South$/);
  await page.close();
});

test("the wall goes on after the server was killed and started again", async () => {
  const page = await open(wall());
  await says(page, "#link", /^live$/);
  await says(page, "#heard", /^2\d of 25/);
  await server.kill();
  await says(page, "#link", /no connection since/);
  await shot(page, "wall-lost");
  await server.again();
  await says(page, "#link", /^live$/);
  await says(page, "#heard", /^2[45] of 25/);
  await page.close();
});

test("so does the console", async () => {
  const page = await open(console_());
  await says(page, "#polled", /^live$/);
  await server.kill();
  await says(page, "#polled", /no answer/);
  await server.again();
  await says(page, "#polled", /^live$/);
  await says(page, "#rows", /pmu\/north/);
  await page.close();
});
