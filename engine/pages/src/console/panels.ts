// The panels: what the metrics say, by theme. Owns which metric stands where. Must not poll.

import { byId, el, fillRows, mark, say, show } from "../shared/dom.js";
import { bytes, seconds, short } from "../shared/format.js";
import { type Reading, quantile, rate } from "./metrics.js";

type Row = [name: string, value: string];

/** How far apart the readings are of which delays are taken. */
export const LONG_S = 10;

export function fillPanels(now: Reading, before?: Reading, longer?: Reading): void {
  fillRows(byId("connections"), connections(now));
  fillRows(byId("delays"), delays(now, longer));
  fillRows(byId("lag"), lag(now, before));
  fillRows(byId("closes"), closes(now));
  fillRows(byId("memory"), memory(now));
  fillRows(byId("process"), ofProcess(now, before));
  fillBackplane(now);
  fillBridges(now, before);
  fillAlign(now, before);
}

const ROLES: Record<string, string> = {
  subscriber: "WebSocket, one feed", multiplexed: "WebSocket, many feeds", events: "event stream",
  publisher: "publisher", echo: "echo", request: "request",
};

function connections(now: Reading): Row[] {
  const roles = now.samples("gridcast_connections");
  const some = roles.filter(({ value }) => value > 0);
  const none = roles.filter(({ value }) => value === 0);
  return [...some, ...none].map(({ labels: { role }, value }) => [ROLES[role] ?? role, short(value)]);
}

function delays(now: Reading, longer?: Reading): Row[] {
  const spans = ["gridcast_publish_to_last_write_seconds", "gridcast_loop_turn_seconds"];
  const [sweep, turn] = spans.map((name) => (share: number) => quantile(now, longer, name, share));
  const frames = (share: number) => quantile(now, longer, "gridcast_frames_per_write", share);
  return [
    ["to the last write, 50 %", `≤ ${seconds(sweep(0.5))}`],
    ["to the last write, 99 %", `≤ ${seconds(sweep(0.99))}`],
    ["turn of a core, 99 %", `≤ ${seconds(turn(0.99))}`],
    ["frames in a write, 50 %", `≤ ${short(frames(0.5))}`],
    ["encodings made", short(now.sum("gridcast_encodes_total"))],
  ];
}

function lag(now: Reading, before?: Reading): Row[] {
  const counted = (name: string, labels = {}) => short(now.sum(name, labels));
  return [
    ["waiting for their socket", counted("gridcast_connections_lagging")],
    ["lapsed: disconnected", counted("gridcast_lapses_total", { outcome: "disconnected" })],
    ["lapsed: skipped on", counted("gridcast_lapses_total", { outcome: "skipped" })],
    ["frames told as missed", counted("gridcast_gap_frames_total")],
    ["resumed after a gap", counted("gridcast_resumes_after_gap_total")],
    ["left out as asked, /s", short(rate(now, before, "gridcast_frames_conflated_total"))],
    ["publishers made to wait", counted("gridcast_publishes_paced_total")],
  ];
}

const ENDED_MAX = 8;

function closes(now: Reading): Row[] {
  const families = [
    ["gridcast_connections_closed_total", "reason", "closed"],
    ["gridcast_turned_away_total", "gate", "turned away"],
    ["gridcast_requests_refused_total", "status", "answered"],
  ];
  const all = families.flatMap(([name, label, word]) => now.samples(name)
    .map(({ labels, value }) => ({ name: `${word}: ${labels[label]}`, value })));
  const some = all.filter(({ value }) => value > 0).sort((a, b) => b.value - a.value);
  if (!some.length) return [["none yet", ""]];
  return some.slice(0, ENDED_MAX).map(({ name, value }) => [name, short(value)]);
}

const SHEDDING = ["nothing", "frames", "connections"];

function memory(now: Reading): Row[] {
  const kinds = now.samples("gridcast_memory_bytes");
  return [
    ["whole process, in RAM", bytes(now.sum("process_resident_memory_bytes"))],
    ...kinds.map(({ labels, value }): Row => [labels.kind, bytes(value)]),
    ["given up for want", SHEDDING[now.sum("gridcast_shedding")] ?? "–"],
  ];
}

function ofProcess(now: Reading, before?: Reading): Row[] {
  const cpu = rate(now, before, "process_cpu_seconds_total") * 100;
  const [open, most] = ["process_open_fds", "process_max_fds"].map((name) => now.sum(name));
  return [
    ["cores", short(now.sum("gridcast_cores"))],
    ["CPU, of one", Number.isNaN(cpu) ? "–" : `${cpu.toFixed(1)} %`],
    ["threads", short(now.sum("process_threads"))],
    ["descriptors, fullest core", `${short(open)} of ${short(most)}`],
    ["patterns followed", short(now.sum("gridcast_patterns"))],
    ["topics awaited", short(now.sum("gridcast_topics_awaited"))],
    ["log lines dropped", short(now.sum("gridcast_log_lines_dropped_total"))],
  ];
}

const BACKPLANE = "gridcast_backplane_";

function fillBackplane(now: Reading): void {
  const names = [...now.names()].filter((name) => name.startsWith(BACKPLANE));
  show(byId("backplane-panel"), names.length > 0);
  fillRows(byId("backplane"), names.map((name) => {
    const word = name.slice(BACKPLANE.length).replace(/_total$/, "").replaceAll("_", " ");
    return [word, word === "up" ? (now.sum(name) ? "yes" : "no") : short(now.sum(name))];
  }));
}

function fillBridges(now: Reading, before?: Reading): void {
  const bridges = now.samples("gridcast_bridge_up");
  show(byId("bridges-panel"), bridges.length > 0);
  const body = byId("bridges");
  while (body.children.length > bridges.length) body.lastElementChild!.remove();
  bridges.forEach(({ labels, value }, at) => {
    const row = body.children[at] ?? body.appendChild(bridgeRow());
    const of = { bridge: labels.bridge };
    const flow = (direction: string) =>
      short(rate(now, before, "gridcast_bridge_messages_total", { ...of, direction }));
    const count = (name: string) => short(now.sum(name, of));
    const cells = [
      labels.bridge, labels.kind, value ? "up" : "down", flow("in"), flow("out"),
      count("gridcast_bridge_errors_total"), count("gridcast_bridge_dropped_total"),
    ];
    cells.forEach((text, column) => say(row.children[column], text));
    mark(row.children[2], "class", value ? "good" : "bad");
  });
}

function bridgeRow(): HTMLTableRowElement {
  const numbers = Array.from({ length: 4 }, () => el("td.n"));
  return el("tr", {}, el("th", { scope: "row" }), el("td"), el("td"), ...numbers);
}

function fillAlign(now: Reading, before?: Reading): void {
  const groups = now.samples("gridcast_align_members");
  show(byId("align-panel"), groups.length > 0);
  fillRows(byId("align"), groups.flatMap(({ labels: { group }, value }): Row[] => {
    const ticks = (complete: string) =>
      rate(now, before, "gridcast_align_ticks_total", { group, complete });
    return [
      [`${group}: members`, short(value)],
      [`${group}: whole ticks /s`, short(ticks("true"))],
      [`${group}: others /s`, short(ticks("false"))],
    ];
  }));
}
