// The page of the daemon: what it receives, what AWS answered, and totals since the state file began.

import { reason } from "./reasons.js";
import { doubtWords } from "./state.js";
import { $, code, count, el, facts, fill, plural, sentence, since, visible } from "./text.js";

/** Show the daemon by the summary, which every page requests. */
export function showDaemon(summary) {
  fill($("version"), summary.version);
  fill($("readiness"), ...summary.readiness.replace(/^ready: /, "").split("\n").map((line) => el("li", {}, sentence(visible(line)))));
  fill($("doubt"), doubtWords(summary) || "No client is in doubt: no gap in the events is open.");
  fill($("aws"), ...(summary.aws === null ? [el("p", {}, "AWS is not asked. With ", code("reconcile.enabled"), " presenced compares its states with AWS's record.")] : ofAws(summary.aws)));
  const { transitions } = summary;
  fill($("totals"), ...facts([
    ["Registry", registry(summary)],
    ["Went online", count(transitions.online)],
    ["Went offline", count(transitions.offline)],
    ["Flaps suppressed", count(summary.flaps_suppressed)],
    ["Disconnects", disconnects(summary.disconnects)],
  ]));
}

/** What requests to AWS did. */
function ofAws({ problems, last_snapshot: last, adopted, corrections, offlines_prevented: prevented, failed_requests: failed }) {
  const snapshot = last === null ? "none yet" : el("span", {}, plural(last.things, "thing"), ", ", since(last.at));
  const failures = failed.map(({ operation, result, count: number }) => el("li", {}, code(operation), ` ${result} ${count(number)}`));
  return [
    ...problems.map((each) => el("p", { class: "notice" }, sentence(each))),
    el("dl", { class: "facts-list" }, ...facts([
      ["Last snapshot", snapshot],
      ["Known from AWS first", adopted ? count(adopted) : ""],
      ["Corrected", corrected(corrections)],
      ["Offlines prevented", prevented ? count(prevented) : ""],
      ["Failed requests", failures.length ? el("ul", {}, ...failures) : ""],
    ])),
  ];
}

function corrected({ online, offline }) {
  if (!online && !offline) return "";
  return `${count(online)} to online, ${count(offline)} to offline`;
}

function disconnects(byReason) {
  const reasons = Object.entries(byReason).filter(([, number]) => number);
  reasons.sort((a, b) => b[1] - a[1]);
  const items = reasons.map(([name, number]) => el("li", {}, el("b", {}, count(number)), " ", reason(name)));
  return items.length ? el("ul", { class: "disconnects" }, ...items) : "";
}

const registry = ({ things, thing_types: types, thing_groups: groups }) =>
  things || types || groups
    ? `${plural(things, "thing")}, ${plural(types, "type")}, ${plural(groups, "group")}`
    : "empty: no event about things has been received";
