// The wall for as long as is asked for (MINUTES), with 200 PMUs of 60 frames a second: memory,
// frames drawn and CPU, a line for each interval. Exits with 1 where one of them does not hold. Owns
// the bars. Must not need a screen or a graphics card: Chromium draws in memory.

import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import puppeteer from "puppeteer-core";
import { Server } from "./server.mjs";

const PMUS = 200;
const PER_S = 60;
const MINUTES = Number(process.env.MINUTES);
/** Every frame; else the wall as it is. Its lines of five minutes fill while it warms up, if it is
 * watched for 20 minutes or longer: only then memory and drawing are those of weeks. */
const QUERY = `rate=${PER_S}`;
const SIZE = { width: 1920, height: 1080 };
const LINES = 30;
/** Filling rings, compiling scripts. */
const WARM_SHARE = 0.3;
const FRAMES_PER_S_MIN = 30;
/** Of what is published: a page that is slow skips to the newest. */
const MESSAGES_SHARE_MIN = 0.9;
/** Between the first and the last third of what is judged: what two collections may differ by. */
const HEAP_GROWTH_MAX = 0.05;
const RSS_GROWTH_MAX = 0.1;
const TICKS_PER_S = 100;
const MIB = 1 << 20;

const server = await Server.start();
const seconds = Math.ceil(MINUTES * 60);
const load = spawn(process.env.GRIDLOAD, [
  "run", "control-room", "--target", `ws://${server.public}`, "--publishers", `${PMUS}`,
  "--rate", `${PER_S}`, "--subscribers", "1", "--duration", `${seconds + 60}s`,
  "--out", process.env.LOAD_OUT,
], { stdio: "ignore" });
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
let faults = [];
try {
  const page = await open();
  faults = judge(await watch(page));
} finally {
  await browser.close();
  load.kill();
  await server.kill();
}
faults.forEach((fault) => console.log(`endurance: ${fault}`));
process.exit(faults.length ? 1 : 0);

/** The wall, once it hears all PMUs. */
async function open() {
  const page = await browser.newPage();
  await page.setViewport(SIZE);
  await page.evaluateOnNewDocument(count);
  await page.goto(`http://${server.public}/wall?${QUERY}`, { waitUntil: "load" });
  const all = `^${PMUS} of ${PMUS} PMUs heard`;
  await page.waitForFunction(
    (all) => new RegExp(all).test(document.getElementById("heard").textContent),
    { polling: 100, timeout: 60_000 }, all);
  return page;
}

/** In the page: frames in which it drew something, and messages that came. */
function count() {
  window.counted = { frames: 0, messages: 0 };
  const request = window.requestAnimationFrame;
  window.requestAnimationFrame = (draw) => request((now) => {
    window.counted.frames++;
    draw(now);
  });
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", () => window.counted.messages++);
    }
  };
}

async function watch(page) {
  const cdp = await page.createCDPSession();
  const interval_ms = (seconds * 1_000) / LINES;
  const row = (...cells) => console.log(cells.map((cell) => `${cell}`.padStart(12)).join(""));
  row("minute", "frames/s", "messages/s", "heap MiB", "RSS MiB", "renderer %", "browser %");
  const samples = [];
  let last = await sample(page, cdp);
  const began_ms = last.at_ms;
  for (let n = 1; n <= LINES; n++) {
    await wait(Math.max(0, began_ms + n * interval_ms - performance.now()));
    const now = await sample(page, cdp);
    const took_s = (now.at_ms - last.at_ms) / 1_000;
    const per_s = (key) => (now[key] - last[key]) / took_s;
    const line = {
      minute: (now.at_ms - began_ms) / 60_000, frames: per_s("frames"),
      messages: per_s("messages"), heap: now.heap_bytes, rss: now.rss_bytes,
      renderer: 100 * per_s("renderer_s"), all: 100 * per_s("all_s"),
    };
    samples.push(line);
    row(line.minute.toFixed(1), line.frames.toFixed(1), line.messages.toFixed(0),
      (line.heap / MIB).toFixed(1), (line.rss / MIB).toFixed(0), line.renderer.toFixed(0),
      line.all.toFixed(0));
    last = now;
  }
  return samples;
}

/** Heap after a collection: what is garbage says nothing of what is kept. */
async function sample(page, cdp) {
  await cdp.send("HeapProfiler.collectGarbage");
  const { usedSize: heap_bytes } = await cdp.send("Runtime.getHeapUsage");
  const counted = await page.evaluate(() => window.counted);
  return { at_ms: performance.now(), heap_bytes, ...counted, ...processes(browser.process().pid) };
}

/** Memory of the page's process; CPU time of that and of the browser with all it started. */
function processes(root) {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(statOf)
    .filter((stat) => stat !== undefined);
  const family = new Set([root]);
  for (let size = 0; size !== family.size;) {
    size = family.size;
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid);
  }
  const own = all.filter(({ pid }) => family.has(pid));
  // A browser keeps a spare one for the next page: the busiest is that of this one.
  const [page] = own.filter(({ is_renderer }) => is_renderer).sort((a, b) => b.cpu_s - a.cpu_s);
  const all_s = own.reduce((sum, { cpu_s }) => sum + cpu_s, 0);
  return { rss_bytes: page.rss_bytes, renderer_s: page.cpu_s, all_s };
}

function statOf(name) {
  try {
    const fields = readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1).split(" ");
    const status = readFileSync(`/proc/${name}/status`, "utf8");
    return {
      pid: Number(name), parent: Number(fields[1]),
      cpu_s: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S,
      rss_bytes: 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0),
      is_renderer: readFileSync(`/proc/${name}/cmdline`, "utf8").includes("--type=renderer"),
    };
  } catch {
    return undefined; // It ended meanwhile.
  }
}

/** What does not hold, in words. */
function judge(samples) {
  const judged = samples.slice(Math.floor(samples.length * WARM_SHARE));
  const third = Math.floor(judged.length / 3);
  const mean = (lines, key) => lines.reduce((sum, line) => sum + line[key], 0) / lines.length;
  const growth = (key) => mean(judged.slice(-third), key) / mean(judged.slice(0, third), key) - 1;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const least = Math.min(...judged.map(({ frames }) => frames));
  const [heap, rss] = [growth("heap"), growth("rss")];
  const [frames, messages, renderer, all] = ["frames", "messages", "renderer", "all"]
    .map((key) => mean(judged, key));
  console.log([
    `${PMUS} PMUs x ${PER_S}/s for ${MINUTES} minutes, on ${SIZE.width} x ${SIZE.height}:`,
    `${frames.toFixed(1)} frames/s drawn, ${least.toFixed(1)} in the worst interval;`,
    `heap ${percent(heap)}, RSS ${percent(rss)} from the first to the last third;`,
    `CPU ${renderer.toFixed(0)} % of one for the page, ${all.toFixed(0)} % with all of the browser`,
  ].join(" "));
  return [
    least < FRAMES_PER_S_MIN && `${least.toFixed(1)} frames/s: ${FRAMES_PER_S_MIN} are wanted`,
    heap > HEAP_GROWTH_MAX && `the heap grew by ${percent(heap)}`,
    rss > RSS_GROWTH_MAX && `the memory of the page's process grew by ${percent(rss)}`,
    messages < MESSAGES_SHARE_MIN * PMUS * PER_S && `${messages.toFixed(0)} messages/s came`,
  ].filter(Boolean);
}
