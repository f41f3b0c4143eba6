// The console: asks the server each second how it is, and shows it. Owns the pace, and what is told
// when there is no answer.

import "uplot/dist/uPlot.min.css";
import "../shared/base.css";
import "./console.css";
import { Client } from "../../../clients/js/src/index.js";
import { Chart } from "../shared/chart.js";
import { byId, el, mark, say, show } from "../shared/dom.js";
import { bytes, fixed, seconds, short } from "../shared/format.js";
import { at, BASE } from "../shared/place.js";
import { Ring } from "../shared/ring.js";
import { Figure, KEPT_S } from "./figures.js";
import { Look } from "./look.js";
import { Reading, rate } from "./metrics.js";
import { LONG_S, fillPanels } from "./panels.js";
import { Refused, ask, currentToken, useToken } from "./server.js";
import { Topics } from "./topics.js";

const POLL_MS = 1_000;

const figures = {
  connections: new Figure("Connections", "", short),
  topics: new Figure("Topics", "", short),
  published: new Figure("Published", "/s", short),
  delivered: new Figure("Delivered", "/s", short),
  sent: new Figure("Sent", "/s", bytes),
  received: new Figure("Received", "/s", bytes),
  lagging: new Figure("Lagging", "", short),
  gaps: new Figure("Gap frames", "/s", short),
  memory: new Figure("Memory", "", bytes),
  cpu: new Figure("CPU", "% of a core", (value) => fixed(value, 1)),
};
byId("figures").append(...Object.values(figures).map(({ element }) => element));

const times = new Ring(KEPT_S);
const rates = new Chart(times, {
  label: "Messages published and delivered a second, last five minutes", min: 0, format: short,
});
byId("rates").append(rates.element);
rates.setLines([
  { label: "delivered", ring: figures.delivered.ring },
  { label: "published", ring: figures.published.ring },
]);
byId("rates-key").append(el("li.l0", {}, "delivered"), el("li.l1", {}, "published"));

const client = new Client(BASE, { token: currentToken });
const look = new Look(client);
const topics = new Topics(client, look);
// What one topic is refused, whoever asked for it tells.
client.on("error", ({ error, topic }) => topic === undefined && tellSocket(error.message));
client.on("state", ({ state }) => {
  if (state === "open") say(byId("trouble"), "");
  if (state === "waiting") tellSocket("no connection for looking into topics; trying again");
});
client.connect();

function tellSocket(text: string): void {
  if (look.topic) say(byId("trouble"), text);
}

const readings: Reading[] = [];

async function poll(): Promise<void> {
  const [metrics, status] = await Promise.all([
    ask(at("metrics")).then((answer) => answer.text()),
    ask(at("v1/admin/status")).then((answer) => answer.json()),
  ]);
  readings.push(new Reading(metrics, performance.now()));
  if (readings.length > LONG_S + 1) readings.shift();
  const [now, before, longer] = [readings.at(-1)!, readings.at(-2), readings[0]];
  fill(now, before);
  fillPanels(now, before, longer);
  say(byId("version"), status.version);
  const state = status.draining ? "draining" : status.ready ? "ready" : "starting";
  mark(byId("ready"), "data-state", status.ready ? "good" : "warn");
  say(byId("ready"), state);
  const up_s = Date.now() / 1000 - now.sum("process_start_time_seconds");
  say(byId("uptime"), `up ${seconds(Math.max(up_s, 0))}`);
  await topics.refresh();
}

function fill(now: Reading, before: Reading | undefined): void {
  times.push(Date.now() / 1000);
  const per_s = (name: string) => rate(now, before, name);
  figures.connections.push(now.sum("gridcast_connections"));
  figures.topics.push(now.sum("gridcast_topics"));
  figures.published.push(per_s("gridcast_publishes_total"));
  figures.delivered.push(per_s("gridcast_frames_sent_total"));
  figures.sent.push(per_s("gridcast_sent_bytes_total"));
  figures.received.push(per_s("gridcast_received_bytes_total"));
  figures.lagging.push(now.sum("gridcast_connections_lagging"));
  figures.gaps.push(per_s("gridcast_gap_frames_total"));
  figures.memory.push(now.sum("process_resident_memory_bytes"));
  figures.cpu.push(per_s("process_cpu_seconds_total") * 100);
  rates.redraw();
}

async function turn(): Promise<void> {
  const begun = performance.now();
  if (!document.hidden) await poll().then(answered, refused);
  setTimeout(() => void turn(), Math.max(POLL_MS - (performance.now() - begun), 100));
}

function answered(): void {
  mark(byId("polled"), "data-state", "good");
  say(byId("polled"), "live");
  show(byId("login"), false);
}

function refused(reason: unknown): void {
  const is_denied = reason instanceof Refused && (reason.status === 401 || reason.status === 403);
  mark(byId("polled"), "data-state", "bad");
  say(byId("polled"), is_denied ? "not admitted" : "no answer");
  mark(byId("ready"), "data-state", "bad");
  say(byId("ready"), "unknown");
  readings.length = 0;
  if (!is_denied) return;
  show(byId("login"), true);
  say(byId("denied"), currentToken() ? reason.message : "");
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId<HTMLInputElement>("token").value);
  client.close();
  client.connect();
});

byId("look-form").addEventListener("submit", (event) => {
  event.preventDefault();
  look.open(byId<HTMLInputElement>("look-topic").value.trim());
});

byId("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  void publish().then(...told);
});

const told = [
  (text: string) => say(byId("published"), text),
  (reason: unknown) => say(byId("published"), `not published: ${(reason as Error).message}`),
] as const;

async function publish(): Promise<string> {
  const topic = byId<HTMLInputElement>("publish-topic").value.trim();
  const text = byId<HTMLTextAreaElement>("publish-body").value;
  const { epoch, seq, subscribers } = await client.publish(topic, text, { text: true });
  const whom = `${subscribers} subscriber${subscribers === 1 ? "" : "s"}`;
  return `published as ${epoch}-${seq}, to ${whom}`;
}

say(byId("address"), location.host);
void turn();
