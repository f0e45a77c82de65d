// How bad is it: the share online now and before, the trend, and who is offline by what they share.

import { TrendChart } from "./chart.js";
import { inWords, reason } from "./reasons.js";
import { asOf, doubtOfPart, oldOf } from "./state.js";
import {
  $, address, badge, breakable, count, el, fill, now, percent, prose, visible,
} from "./text.js";

const STATES = ["online", "pending", "offline", "unknown"];
const BARS = 4;

/** Shows the overview of the fleet. */
export class Overview {
  constructor() {
    this.chart = new TrendChart();
  }

  show(overview) {
    const { fleet, offline, devices } = overview;
    const old = oldOf(overview);
    $("hero").hidden = fleet.share_online === null;
    showNumbers(fleet);
    showAge(old === null ? doubtOfPart(overview) : asOf(old));
    this.chart.show(fleet.trend, old === null ? fleet.clients : null, now());
    showStandout(offline, fleet.clients);
    showDevices(devices);
    showBreakdown(offline, fleet.clients.offline);
  }
}

/** The title of the page: the number to know is in it. */
export const headline = (overview) => {
  const share = overview.fleet.share_online;
  if (oldOf(overview) !== null) return "Not receiving events";
  return share === null ? "Fleet" : `${percent(share)} online`;
};

/** Say as of when the numbers are, or why they may be wrong; null if they are those of now. */
function showAge(text) {
  $("share-old").hidden = text === null;
  fill($("share-old"), ...(text ?? []));
}

function showNumbers({ clients, share_online: share, hour_ago: hour, day_ago: day }) {
  fill($("share-now"), ...(share === null ? [] : [el("b", {}, percent(share)), " online"]));
  $("share-pending").textContent = clients.pending ? `of these ${count(clients.pending)} pending` : "";
  fill($("compared"),
    compared("An hour ago", share, hour),
    compared("A day ago", share, day));
  fill($("numbers"), ...STATES.map((state) =>
    el("li", {}, el("a", { href: `#/?state=${state}` }, badge(state), " ", el("b", {}, count(clients[state]))))));
}

function compared(when, share, before) {
  const value = before === null ? "no record" : percent(before);
  return el("div", {}, el("dt", {}, when), el("dd", { class: before === null ? "quiet" : "" }, value, changeOf(share, before)));
}

/** By how many percentage points a share has changed. */
function changeOf(share, before) {
  if (share === null || before === null) return "";
  const points = 100 * (share - before);
  if (points === 0) return el("span", { class: "quiet" }, " unchanged");
  const [direction, arrow] = points < 0 ? ["worse", "▼"] : ["better", "▲"];
  const size = Math.abs(points) < 0.05 ? "<\u00a00.1" : Math.abs(points).toFixed(1);
  return el("span", { class: direction }, ` ${arrow} ${size} `, el("span", { class: "unit" }, "points"));
}

function showStandout({ standout }, clients) {
  $("standout").dataset.level = standout ? "loud" : "quiet";
  if (standout) {
    const link = el("a", { href: addressOf(standout.kind, standout.name) }, ...prose(standout.text));
    fill($("standout"), link);
  } else {
    fill($("standout"), clients.offline ? "Nothing stands out: no group, type or reason has far more offline than the others." : none(clients));
  }
}

/** Single devices: each leads to its page, or to the list if it has none. */
function showDevices(devices) {
  $("devices").hidden = !devices.length;
  fill($("devices"), ...devices.map(({ client_id: id, state, text }) =>
    el("li", {}, el("a", { href: state === null ? "#/flapping" : address(id) }, ...prose(text)))));
}

const none = ({ online, pending, unknown }) =>
  online + pending
    ? "No client is offline."
    : `No client has been seen yet${unknown ? `, of ${count(unknown)} whose things are known` : ""}. A client is` +
      " seen when it connects or disconnects. If devices do, check in the line above whether presenced receives their events.";

/** The URL of the offline clients of a reason, type or group. */
function addressOf(kind, name) {
  return `#/?${new URLSearchParams({ state: "offline", [kind]: name, sort: "-since" })}`;
}

function showBreakdown({ by_reason: reasons, by_thing_type: types, by_thing_group: groups, standout }, offline) {
  const byReason = Object.entries(reasons)
    .filter(([, number]) => number)
    .sort(([, a], [, b]) => b - a)
    .map(([name, number]) => ({ name, offline: number, of: offline }));
  const isWorst = (kind, name) => standout?.kind === kind && standout.name === name;
  const parts = [
    ["reason", "Offline by reason", byReason, (name) => [reason(name)]],
    ["thing_type", "By thing type", types.filter((each) => each.offline), named],
    ["thing_group", "By group", groups.filter((each) => each.offline), named],
  ].filter(([, , rows]) => rows.length);
  $("breakdown").hidden = !parts.length;
  fill($("breakdown"), ...parts.map(([kind, title, rows, words]) => {
    const bars = rows.slice(0, BARS).map((row) => bar(kind, row, words, isWorst(kind, row.name)));
    const more = rows.length - bars.length;
    return el("section", {},
      el("h2", {}, title),
      el("ul", { class: "bars" }, ...bars),
      more > 0 ? rest(kind, more, rows.slice(BARS).map((row) => bar(kind, row, words, false))) : "");
  }));
}

/** The other bars, which are shown when they are opened. */
const rest = (kind, more, bars) =>
  el("details", { "data-key": kind },
    el("summary", { class: "quiet", "data-key": kind }, `${count(more)} more`),
    el("ul", { class: "bars" }, ...bars));

const named = (name) => [el("bdi", {}, ...breakable(visible(name, 80) || "none"))];

function bar(kind, { name, offline, of }, words, isWorst) {
  const width = el("span", { class: "bar-fill" });
  width.style.width = `${(100 * offline) / Math.max(of, 1)}%`;
  const what = kind === "reason" ? count(offline) : `${count(offline)} of ${count(of)}`;
  const label = kind === "reason" && name === "other"
    ? el("span", {}, inWords(name))
    : el("a", { href: addressOf(kind, name) }, ...words(name));
  return el("li", isWorst ? { class: "worst" } : {},
    label,
    el("span", { class: "bar-value" }, el("b", {}, percent(offline / Math.max(of, 1))), ` ${what}`),
    el("span", { class: "bar-track", "aria-hidden": "true" }, width));
}
