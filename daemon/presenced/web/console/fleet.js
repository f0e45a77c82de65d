// The page of the fleet: its numbers, the latest transitions, and its clients page by page.

import { ask } from "./api.js";
import {
  $, badge, code, count, el, facts, fill, link, listed, moment, plural, showShare, since, unverified, visible,
} from "./text.js";

const STATES = ["online", "pending", "offline", "unknown"];
const PAGE = 50, SHOWN = 30, SHOWN_IF_NARROW = 5;
const narrow = matchMedia("(max-width: 59.99rem)"); // as in console.css
const PARAMETERS = ["prefix", "state", "sort", "cursor"];

/** Show the fleet in numbers. */
export function showNumbers(summary) {
  const { clients } = summary;
  const share = STATES.map((state) => [state, clients[state]]);
  const numbers = share.map(([state, number]) => el("li", {}, numberOf(state, number)));
  fill($("numbers"), ...numbers);
  showShare($("share"), share);
  const words = share.map(([state, number]) => `${count(number)} ${state}`);
  $("share").setAttribute("aria-label", words.join(", "));
  fill($("totals"), ...facts([
    ["Share online", shareOnline(clients)],
    ["In doubt", inDoubt(summary.in_doubt)],
    ["Went online", count(summary.transitions.online)],
    ["Went offline", count(summary.transitions.offline)],
    ["Flaps suppressed", count(summary.flaps_suppressed)],
    ["Disconnects", disconnects(summary.disconnects)],
    ["Registry", registry(summary)],
    ...(summary.aws === null ? [] : ofAws(summary.aws)),
  ]));
}

/** Show which partitions of Kafka a worker has; null if there are no partitions. */
export function showPartitions(partitions) {
  $("partitions").hidden = partitions === null;
  $("partitions").textContent = partitions === null ? "" : ownedText(partitions);
  $("counts").hidden = isHidden(partitions);
}

/** Whether a worker must show no clients, because others may have its partitions. */
export const isHidden = (partitions) => partitions !== null && !partitions.shown;

function ownedText({ owned, of, shown }) {
  const all = "Grafana shows the whole fleet.";
  if (!shown) return `This worker shows no clients until Kafka confirms that it still has its partitions. ${all}`;
  if (!owned.length) return `This worker has no partitions at present. ${all}`;
  if (owned.length === of) return `This worker has all ${plural(of, "partition")}.`;
  const numbers = `partition${owned.length === 1 ? "" : "s"} ${ranges(owned)}`;
  return `This worker has ${numbers} of ${of}: all on this page is about these. ${all}`;
}

/** Sorted numbers as text, three and more in a row as a range. */
function ranges(numbers) {
  const runs = [];
  for (const each of numbers) {
    if (runs.at(-1)?.at(-1) === each - 1) runs.at(-1).push(each);
    else runs.push([each]);
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}-${run.at(-1)}` : run.join(", "))).join(", ");
}

function inDoubt({ clients }) {
  const total = Object.values(clients).reduce((sum, number) => sum + number, 0);
  return total ? count(total) : "";
}

/** What requests to AWS did, as terms and values. */
function ofAws({ last_snapshot: last, adopted, corrections, offlines_prevented: prevented, failed_requests: failed }) {
  const snapshot = last === null
    ? "none yet"
    : el("span", {}, plural(last.things, "thing"), ", ", since(last.at));
  const failures = failed.map(({ operation, result, count: number }) =>
    el("li", {}, code(operation), ` ${result} ${count(number)}`));
  return [
    ["Last snapshot of AWS", snapshot],
    ["Known from AWS first", adopted ? count(adopted) : ""],
    ["Corrected by AWS", corrected(corrections)],
    ["Offlines prevented", prevented ? count(prevented) : ""],
    ["Failed requests to AWS", failures.length ? el("ul", { class: "reasons" }, ...failures) : ""],
  ];
}

function corrected({ online, offline }) {
  if (!online && !offline) return "";
  return `${count(online)} to online, ${count(offline)} to offline`;
}

const numberOf = (state, number) =>
  el("a", { href: `#/?state=${state}` }, el("b", {}, count(number)), " ", badge(state));

function shareOnline({ online, pending, offline }) {
  const known = online + pending + offline;
  return known ? `${((100 * (online + pending)) / known).toFixed(1)} %` : "";
}

function disconnects(byReason) {
  const reasons = Object.entries(byReason).filter(([, number]) => number);
  reasons.sort((a, b) => b[1] - a[1]);
  const items = reasons.map(([reason, number]) =>
    el("li", {}, code(reason), ` ${count(number)}`));
  return items.length ? el("ul", { class: "reasons" }, ...items) : "";
}

const registry = ({ things, thing_types: types, thing_groups: groups }) =>
  things || types || groups
    ? `${plural(things, "thing")}, ${plural(types, "type")}, ${plural(groups, "group")}`
    : "";

/** The list of the latest transitions, newest first. */
export class Strip {
  constructor() {
    this.received = 0;
    this.missed = 0;
    this.paused = false;
    this.waiting = [];
    this.leftOut = 0;
    $("pause").addEventListener("click", () => this.pause());
  }

  add(transition) {
    this.received += 1;
    this.waiting.unshift(transition);
    this.leftOut += this.waiting.splice(SHOWN).length;
  }

  /** Count transitions that were dropped by the daemon; null if their number is unknown. */
  lost(number) {
    this.missed = number === null || this.missed === null ? null : this.missed + number;
  }

  pause() {
    this.paused = !this.paused;
    $("pause").setAttribute("aria-pressed", this.paused);
    this.show();
  }

  note() {
    const received = this.received ? count(this.received) : "None";
    const missed = this.missed === null
      ? "more may have been missed while the connection was lost"
      : this.missed && `${count(this.missed)} more were missed, because there were too many`;
    const room = narrow.matches ? SHOWN_IF_NARROW : SHOWN;
    return [
      `${received} since this page was opened`,
      this.received > room ? `, of which the latest ${room} are shown` : "",
      missed ? `; ${missed}` : "",
      this.paused ? "; paused" : "",
      ".",
    ].join("");
  }

  /** Show the transitions received since the last call. */
  show() {
    const note = this.note();
    if ($("strip-note").textContent !== note) $("strip-note").textContent = note;
    if (this.paused || !this.waiting.length) return;
    const items = this.waiting.map(transition);
    if (this.leftOut) {
      const text = `${plural(this.leftOut, "earlier transition")} left out here.`;
      items.push(el("li", { class: "quiet" }, text));
    }
    $("strip").prepend(...items);
    this.waiting = [];
    this.leftOut = 0;
    while ($("strip").children.length > SHOWN) $("strip").lastChild.remove();
  }
}

function transition({ client_id: id, state, since: began, confirmed_at: confirmed, reason }) {
  const parts = [moment(confirmed), badge(state), link(id)];
  if (began !== confirmed) parts.push(el("span", { class: "quiet" }, "since ", moment(began)));
  if (state === "offline" && reason) parts.push(code(reason));
  return el("li", {}, ...parts);
}

/** Request the page of clients that the URL selects. */
export function pageOf(query) {
  const parameters = new URLSearchParams({ limit: PAGE });
  for (const key of PARAMETERS) if (query.get(key)) parameters.set(key, query.get(key));
  return ask(`clients?${parameters}`);
}

/** Show a page of clients. */
export function showPage(page, query) {
  fill($("clients").tBodies[0], ...page.clients.map(row));
  $("clients").hidden = !page.clients.length;
  pointTo("first-page", query, query.has("cursor") ? "" : null);
  pointTo("next-page", query, page.next_cursor);
  $("list-note").textContent = note(page, query);
}

/** Show no client. */
export function hidePage() {
  fill($("clients").tBodies[0]);
  for (const id of ["clients", "first-page", "next-page"]) $(id).hidden = true;
  $("list-note").textContent = "";
}

function row(client) {
  return el("tr", {},
    el("th", { scope: "row" }, link(client.client_id)),
    el("td", {}, badge(client.state), client.verified ? "" : " ", client.verified ? "" : unverified()),
    el("td", { class: "time" }, client.since === null ? "" : since(client.since)),
    el("td", { class: "wide reason" }, client.reason ? code(client.reason) : ""),
    el("td", { class: "wide" }, visible(client.thing_type, 64)),
    el("td", { class: "wide" }, listed(client.thing_groups, 48)));
}

/** Point a link to the page after a cursor; empty is the first page, null hides the link. */
function pointTo(id, query, cursor) {
  $(id).hidden = cursor === null;
  const next = new URLSearchParams(query);
  next.delete("cursor");
  if (cursor) next.set("cursor", cursor);
  $(id).href = `#/?${next}`;
}

function note({ clients, next_cursor: next, partitions }, query) {
  if (clients.length) {
    return `${plural(clients.length, "client")} on this page${next ? "; more follow" : ""}.`;
  }
  if (next) return "None so far; more follow.";
  if (query.has("cursor")) return "No more clients.";
  const isFiltered = query.get("prefix") || query.get("state");
  if (partitions !== null) {
    return `No client ${isFiltered ? "that matches " : ""}is in the partitions of this worker.`;
  }
  if (isFiltered) return "No client matches.";
  return "No client is known yet. A client becomes known when it connects or disconnects.";
}
