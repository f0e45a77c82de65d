// The trend of the fleet as SVG: the share that is offline, which rises from 0, and beneath it the
// transitions of each minute on a logarithmic scale, because a million connects once would leave
// nothing to see of a thousand disconnects later.

import { $, count, duration, fill, minute, percent } from "./text.js";

const MINUTE = 60000, LONGEST = 360 * MINUTE, SHORTEST = 10 * MINUTE;
const LEFT = 52, RIGHT = 4, TOP = 21, SHARE = 104, GAP = 24, BAR = 34, AXIS = 34, CAPTION = 6;
const BOTTOM = TOP + SHARE, MIDDLE = BOTTOM + GAP + BAR, HEIGHT = MIDDLE + BAR + AXIS;
const LOSSES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const STEPS = [2, 5, 10, 20, 30, 60, 120], STEP_ROOM = 80; // minutes with a label; pixels for one

const short = new Intl.NumberFormat("en", { notation: "compact" }); // a million has no room

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

/**
 * Shows the trend of the fleet, in the width that there is.
 *
 * Pointing at a minute with the mouse or a finger shows its numbers. With a keyboard or a screen
 * reader, an invisible slider selects the minute.
 */
export class TrendChart {
  constructor() {
    this.at = $("trend");
    this.slider = $("trend-minute");
    this.points = [];
    this.begin = this.end = 0;
    this.chosen = null; // the time of the selected minute
    new ResizeObserver(() => this.draw()).observe(this.at);
    const pointTo = ({ clientX }) => this.choose(this.timeAt(clientX));
    const keep = (event) => {
      pointTo(event);
      this.slider.focus({ preventScroll: true });
    };
    this.at.addEventListener("pointermove", pointTo);
    this.at.addEventListener("pointerup", keep);
    this.at.addEventListener("click", keep); // the mouse takes the focus away before it
    this.at.addEventListener("pointerleave", () => {
      if (document.activeElement !== this.slider) this.choose(null);
    });
    const slide = () => this.choose(this.points[this.slider.value]?.at ?? null);
    this.slider.addEventListener("input", slide);
    this.slider.addEventListener("focus", slide);
    this.slider.addEventListener("blur", () => this.choose(null));
  }

  /**
   * Show at most six hours before `now`, in milliseconds, where the fleet has these `clients`; null if
   * that is not known.
   */
  show(trend, clients, now) {
    const present = clients === null ? [] : [{ ...clients, at: now, to_online: 0, to_offline: 0 }];
    this.points = [...trend, ...present]
      .map((each) => ({ ...each, at: new Date(each.at).getTime(), share: shareOf(each) }))
      .filter(({ at, share }) => at > now - LONGEST && share !== null);
    this.end = now;
    const first = this.points[0]?.at ?? now;
    this.begin = Math.max(now - LONGEST, Math.min(first - MINUTE, now - SHORTEST));
    $("trend-title").textContent = titleOf(now - first);
    this.draw();
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
      ...this.times(), ...this.missing(runs), ...this.shareAxis(), ...captions(),
      ...runs.flatMap((run) => this.line(run)),
      ...this.bars(most),
      ...this.cursor()));
  }

  /** Round times, with a line each. */
  times() {
    const pixels = (this.width - LEFT - RIGHT) / ((this.end - this.begin) / MINUTE); // a minute
    const step = (STEPS.find((each) => each * pixels >= STEP_ROOM) ?? STEPS.at(-1)) * MINUTE;
    const first = Math.ceil(this.begin / step) * step;
    const number = Math.max(0, Math.floor((this.end - first) / step) + 1);
    return [...Array(number).keys()].map((index) => first + index * step).flatMap((time) => {
      const x = this.x(time).toFixed(1);
      const line = svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: MIDDLE + BAR });
      const label = svg("text", { x, y: HEIGHT - 3, "text-anchor": "middle" }, minute(time));
      return x > LEFT + 16 && x < this.width - 16 ? [line, label] : [line];
    });
  }

  shareAxis() {
    return [0, 0.5, 1].flatMap((part) => {
      const y = BOTTOM - part * SHARE;
      const text = percent(part * this.loss);
      return [
        svg("line", { class: part ? "grid" : "axis", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, text),
      ];
    });
  }

  /** A line of the share of a run that is offline, and the area below it. */
  line(run) {
    const y = (share) => (BOTTOM - (SHARE * (1 - share)) / this.loss).toFixed(1);
    const points = run.map(({ at, share }) => `${this.x(at).toFixed(1)},${y(share)}`);
    const [from, to] = [run[0], run.at(-1)].map(({ at }) => `${this.x(at).toFixed(1)},${BOTTOM}`);
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
    const width = Math.max(1, (MINUTE * (this.width - LEFT - RIGHT)) / (this.end - this.begin));
    const path = (key, sign) => this.points.filter((each) => each[key]).map((each) => {
      const height = Math.max(1.5, BAR * level(each[key], most));
      return `M${(this.x(each.at) - width / 2).toFixed(1)} ${MIDDLE}v${(sign * height).toFixed(1)}`;
    }).join("");
    return [
      ...ticksOf(most).flatMap((value) => [-1, 1].flatMap((sign) => this.tick(value, sign * BAR * level(value, most)))),
      svg("path", { class: "to-offline", d: path("to_offline", -1), "stroke-width": width }),
      svg("path", { class: "to-online", d: path("to_online", 1), "stroke-width": width }),
      svg("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: MIDDLE, y2: MIDDLE }),
    ];
  }

  /** A number of transitions at a distance from their middle line. */
  tick(value, distance) {
    const y = MIDDLE + distance;
    return [
      svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
      svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, short.format(value)),
    ];
  }

  /** The chart in words. */
  summary(lowest) {
    if (!this.points.length) return "No record yet.";
    const low = this.points.find(({ share }) => share === lowest) ?? this.points[0];
    const last = this.points.at(-1);
    const worst = this.points.reduce((a, b) => (b.to_offline > a.to_offline ? b : a));
    const most = worst.to_offline
      ? ` Most went offline at ${minute(worst.at)}: ${count(worst.to_offline)} in a minute.`
      : " No client went offline.";
    return `Share offline since ${minute(this.points[0].at)}: highest ${percent(1 - low.share)} at` +
      ` ${minute(low.at)}, ${percent(1 - last.share)} at ${minute(last.at)}.${most}`;
  }

  /** The time at a place in the window. */
  timeAt(clientX) {
    const x = clientX - this.at.getBoundingClientRect().left;
    return this.begin + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.end - this.begin);
  }

  /** Tell the numbers at the end of the minute that a time is in; null tells none. */
  choose(time) {
    this.chosen = time;
    this.draw();
  }

  /** A line at the selected minute, with its numbers beside it. */
  cursor() {
    const index = this.points.findIndex(({ at }) => this.chosen > at - MINUTE && this.chosen <= at);
    const found = this.chosen === null ? undefined : this.points[index];
    fill($("trend-at"), found ? numbersOf(found) : "");
    this.slider.max = Math.max(0, this.points.length - 1);
    this.slider.value = found ? index : this.slider.max;
    this.slider.disabled = !this.points.length;
    const selected = found ?? this.points.at(-1);
    this.slider.setAttribute("aria-valuetext", selected ? numbersOf(selected) : "no record");
    if (!found) return [];
    const x = this.x(found.at).toFixed(1);
    return [svg("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: MIDDLE + BAR })];
  }
}

/** What each part shows, and in which direction: the middle line has an opposite on either side. */
function captions() {
  const caption = (kind, y, text) => svg("text", { class: `caption ${kind}`, x: LEFT, y }, text);
  return [
    caption("down", TOP - CAPTION, "↑ share offline"),
    caption("down", MIDDLE - BAR - CAPTION, "↑ to offline, clients a minute (log scale)"),
    caption("up", MIDDLE + BAR + CAPTION + 8, "↓ to online, clients a minute (log scale)"),
  ];
}

/** The height of a number of transitions, from 0 to 1, if `most` has 1. */
const level = (value, most) => Math.log1p(value) / Math.log1p(most);

/** The numbers that the scale of transitions names: powers of ten, as many as there is room for. */
function ticksOf(most) {
  const highest = Math.floor(Math.log10(most) + 1e-9);
  const middle = Math.floor(highest / 2);
  return highest > 1 ? [10 ** highest, 10 ** middle] : [10 ** highest];
}

function titleOf(covered) {
  if (covered < MINUTE) return "Trend";
  return `Last ${covered > LONGEST - 2 * MINUTE ? "six hours" : duration(covered)}`;
}

function numbersOf({ at, share, offline, to_online: up, to_offline: down }) {
  const changes = up || down ? `; ${count(down)} to offline, ${count(up)} to online` : "";
  return `${minute(at)}: ${percent(share)} online, ${count(offline)} offline${changes}`;
}
