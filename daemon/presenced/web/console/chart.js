// The trend of the fleet as SVG: the share that is offline hangs from the line of 100 %, and beneath
// are the transitions of each minute.

import { count, el, fill, minute, percent } from "./text.js";

const MINUTE = 60000, HOURS = 6;
const LEFT = 52, RIGHT = 4, TOP = 9, SHARE = 112, GAP = 20, BAR = 19, AXIS = 18;
const BOTTOM = TOP + SHARE, MIDDLE = BOTTOM + GAP + BAR, HEIGHT = MIDDLE + BAR + AXIS;
const LOSSES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const NARROW = 480; // pixels, below which every second hour has a label

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The share of known clients that is online, pending ones included; null without clients. */
function shareOf({ online, pending, offline }) {
  const known = online + pending + offline;
  return known ? (online + pending) / known : null;
}

/** Minutes in a row, as arrays: presenced did not run in those that are missing. */
function runsOf(points) {
  const runs = [];
  for (const point of points) {
    const isNext = point.at - (runs.at(-1)?.at(-1).at ?? -Infinity) <= 1.5 * MINUTE;
    if (isNext) runs.at(-1).push(point);
    else runs.push([point]);
  }
  return runs;
}

/** Shows a trend in an element, in its width. */
export class TrendChart {
  constructor(at, readout) {
    this.at = at;
    this.readout = readout;
    this.points = [];
    this.end = 0;
    new ResizeObserver(() => this.draw()).observe(at);
    at.addEventListener("pointermove", (event) => this.point(event.offsetX));
    at.addEventListener("pointerleave", () => this.point(null));
  }

  /** Show the last six hours before `now`, in milliseconds, where the fleet has these `clients`. */
  show(trend, clients, now) {
    this.end = now;
    const present = { ...clients, at: now, to_online: 0, to_offline: 0 };
    this.points = [...trend, present]
      .map((each) => ({ ...each, at: new Date(each.at).getTime(), share: shareOf(each) }))
      .filter(({ at, share }) => at > this.begin && share !== null);
    this.draw();
  }

  get begin() {
    return this.end - HOURS * 60 * MINUTE;
  }

  x(time) {
    const room = this.width - LEFT - RIGHT;
    return LEFT + (room * (time - this.begin)) / (this.end - this.begin);
  }

  draw() {
    this.width = this.at.clientWidth;
    if (!this.width || !this.end) return;
    const lowest = Math.min(1, ...this.points.map(({ share }) => share));
    this.loss = LOSSES.find((each) => each >= 1 - lowest);
    const most = Math.max(1, ...this.points.flatMap((each) => [each.to_online, each.to_offline]));
    const size = { viewBox: `0 0 ${this.width} ${HEIGHT}`, width: this.width, height: HEIGHT };
    const runs = runsOf(this.points);
    fill(this.at, svg("svg", { ...size, role: "img", "aria-label": this.summary(lowest) },
      ...this.hours(), ...this.missing(runs), ...this.shareAxis(),
      ...runs.flatMap((run) => this.line(run)),
      ...this.bars(most)));
  }

  /** The hours, with a line each. */
  hours() {
    const step = this.width < NARROW ? 2 : 1;
    const first = Math.ceil(this.begin / (60 * MINUTE));
    return [...Array(HOURS).keys()].map((index) => first + index).flatMap((hour) => {
      const time = hour * 60 * MINUTE;
      const x = this.x(time).toFixed(1);
      const line = svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: MIDDLE + BAR });
      const label = svg("text", { x, y: HEIGHT - 3, "text-anchor": "middle" }, minute(time));
      const hasRoom = x > LEFT + 16 && x < this.width - 16;
      return hour % step === 0 && hasRoom ? [line, label] : [line];
    });
  }

  shareAxis() {
    return [0, 0.5, 1].flatMap((part) => {
      const y = TOP + part * SHARE;
      const text = percent(1 - part * this.loss);
      return [
        svg("line", { class: part ? "grid" : "axis", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, text),
      ];
    });
  }

  /** A line of the share of a run, and the area of the loss above it. */
  line(run) {
    const y = (share) => (TOP + (SHARE * (1 - share)) / this.loss).toFixed(1);
    const points = run.map(({ at, share }) => `${this.x(at).toFixed(1)},${y(share)}`);
    const [from, to] = [run[0], run.at(-1)].map(({ at }) => `${this.x(at).toFixed(1)},${TOP}`);
    return [
      svg("polygon", { class: "loss", points: [from, ...points, to].join(" ") }),
      svg("polyline", { class: "share-line", points: points.join(" ") }),
    ];
  }

  /** The times without any minute, if they are long enough to see. */
  missing(runs) {
    const edges = [this.begin, ...runs.flatMap((run) => [run[0].at, run.at(-1).at]), this.end];
    const spans = edges.flatMap((edge, at) => (at % 2 ? [] : [[edge, edges[at + 1]]]));
    return spans.filter(([from, to]) => to - from > 2 * MINUTE).flatMap(([from, to]) => {
      const [x, width] = [this.x(from), this.x(to) - this.x(from)];
      const box = svg("rect", { class: "missing", x, y: TOP, width, height: MIDDLE + BAR - TOP });
      const place = { class: "missing-text", x: x + width / 2, y: TOP + SHARE / 2, "text-anchor": "middle" };
      return width > 54 ? [box, svg("text", place, "no record")] : [box];
    });
  }

  /** Transitions to offline above a line, transitions to online beneath it. */
  bars(most) {
    const width = Math.max(1, (this.width - LEFT - RIGHT) / (HOURS * 60));
    const path = (key, sign) => this.points.filter((each) => each[key]).map((each) => {
      const height = Math.max(1.5, (BAR * each[key]) / most);
      return `M${(this.x(each.at) - width / 2).toFixed(1)} ${MIDDLE}v${(sign * height).toFixed(1)}`;
    }).join("");
    const label = (y) => svg("text", { x: LEFT - 6, y, "text-anchor": "end" }, count(most));
    return [
      svg("path", { class: "to-offline", d: path("to_offline", -1), "stroke-width": width }),
      svg("path", { class: "to-online", d: path("to_online", 1), "stroke-width": width }),
      svg("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: MIDDLE, y2: MIDDLE }),
      label(MIDDLE - BAR + 9), label(MIDDLE + BAR),
    ];
  }

  /** The chart in words. */
  summary(lowest) {
    if (!this.points.length) return "No record of the last six hours yet.";
    const low = this.points.find(({ share }) => share === lowest) ?? this.points[0];
    const last = this.points.at(-1);
    const worst = this.points.reduce((a, b) => (b.to_offline > a.to_offline ? b : a));
    const most = worst.to_offline
      ? ` Most went offline at ${minute(worst.at)}: ${count(worst.to_offline)} in a minute.`
      : " No client went offline.";
    return `Share online since ${minute(this.points[0].at)}: lowest ${percent(low.share)} at` +
      ` ${minute(low.at)}, ${percent(last.share)} at ${minute(last.at)}.${most}`;
  }

  /** Tell the numbers at the end of the minute at a place; null tells none. */
  point(x) {
    const time = x === null ? NaN : this.begin + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.end - this.begin);
    const found = this.points.find(({ at }) => time > at - MINUTE && time <= at);
    fill(this.readout, ...(found ? [el("span", {}, numbersOf(found))] : []));
  }
}

function numbersOf({ at, share, offline, to_online: up, to_offline: down }) {
  const changes = up || down ? `; ${count(down)} to offline, ${count(up)} to online` : "";
  return `${minute(at)}: ${percent(share)} online, ${count(offline)} offline${changes}`;
}
