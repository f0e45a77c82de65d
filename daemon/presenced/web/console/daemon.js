// The page of the daemon: what it receives, what AWS answered if it is asked, and totals since the state file began.

import { reason } from "./reasons.js";
import { problem } from "./state.js";
import {
  $, code, count, duration, el, facts, fill, moment, now, plural, prose, sentence, since, tag, visible,
} from "./text.js";

/** Show the daemon by the summary, which every page requests. */
export function showDaemon(summary, overview) {
  fill($("version"), summary.version);
  fill($("readiness"), ...summary.readiness.replace(/^ready: /, "").split("\n").map((line) => el("li", {}, visible(problem(line)))));
  fill($("meaning"), ...prose((overview?.daemon.meaning ?? []).join(" ")));
  $("aws-title").hidden = $("aws").hidden = summary.aws === null;
  fill($("aws"), ...(summary.aws === null ? [] : ofAws(summary.aws)));
  const { transitions } = summary;
  fill($("totals"), ...facts([
    ["Registry", registry(summary)],
    ["Went online", count(transitions.online)],
    ["Went offline", count(transitions.offline)],
    ["Back within the offline delay", count(summary.flaps_suppressed)],
    ["Disconnects", disconnects(summary.disconnects)],
  ]));
}

const FAR = 2 * 365 * 86400 * 1000; // milliseconds: no day count for a certificate that expires later
const CERTIFICATES = {
  __proto__: null,
  client: "Client certificate",
  ca: "CA certificate",
  kafka_client: "Client certificate for Kafka",
  kafka_ca: "CA certificate for Kafka",
};

/** Show until when the certificates of the daemon are valid, if it uses any. */
export function showCertificates({ daemon: { certificates } }) {
  $("certificates").hidden = $("certificates-title").hidden = certificates === null;
  fill($("certificates"), ...facts((certificates ?? []).map(({ name, expires_at: end }) => [CERTIFICATES[name], validity(end)])));
}

function validity(end) {
  const left = Date.parse(end) - now();
  if (left <= 0) return el("span", {}, moment(end), " ", tag("expired"));
  return el("span", {}, moment(end), left < FAR ? el("span", { class: "quiet" }, ` ${duration(left)} left`) : "");
}

/** What is wrong with the certificates of the daemon, in one text. */
export const certificateWarning = ({ daemon: { certificates } }) =>
  (certificates ?? []).filter(({ warning }) => warning).map(({ warning }) => sentence(warning)).join(" ");

/** What requests to AWS did. */
function ofAws({ problems, last_snapshot: last, adopted, corrections, offlines_prevented: prevented, failed_requests: failed }) {
  const snapshot = last === null ? "none yet" : el("span", {}, plural(last.things, "thing"), ", ", since(last.at));
  const failures = failed.map(({ operation, result, count: number }) => el("li", {}, code(operation), ` ${result} ${count(number)}`));
  return [
    ...problems.map((each) => el("p", { class: "notice" }, sentence(each))),
    el("dl", { class: "facts-list" }, ...facts([
      ["Last snapshot", snapshot],
      ["First known from it", adopted ? count(adopted) : ""],
      ["Corrected", corrected(corrections)],
      ["Kept online by a lookup", prevented ? count(prevented) : ""],
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
