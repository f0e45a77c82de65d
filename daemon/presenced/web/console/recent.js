// What happened recently: mass events, which open, and single transitions.

import { ask } from "./api.js";
import { reason } from "./reasons.js";
import {
  $, badge, breakable, clock, count, dated, el, fill, link, mark, moment, now, plural, prose,
  visible,
} from "./text.js";

const MAX_LIVE = 100, MAX_MASS = 4;
const MASS_FOR = 6 * 3600 * 1000; // milliseconds
const LATE = 60000; // in milliseconds; beyond this delay the entry also says when it was known

const request = (parameters) => ask(`recent?${new URLSearchParams(parameters)}`);

/** The parameters of a view: without those that are null. */
const given = (parameters) =>
  Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== null));

/** Request what happened, newest first; `before` is where the page before ended. */
export const recentOf = (limit, { before, kind }) => request({ limit, ...given({ before, kind }) });

const keyOf = ({ state, first }) => `${state} ${first}`;
const endOf = (entry) => Date.parse(entry.kind === "mass" ? entry.last : entry.confirmed_at);
/** The time that an entry shows: when its state began, as in the list of clients. */
const beganAt = (entry) => Date.parse(entry.kind === "mass" ? entry.first : entry.since);
const newestFirst = (a, b) => beganAt(b) - beganAt(a);

/**
 * The mass events of the last hours and the latest transitions, in the order in which they began.
 *
 * Transitions of the stream are shown until the daemon's list has them. Nothing changes while the
 * list is paused.
 */
export class RecentList {
  /** `at` shows at most `limit` entries. */
  constructor(at, limit) {
    this.at = at;
    this.limit = limit;
    this.entries = null;
    this.live = [];
    this.mass = [];
    this.paused = false;
    this.changed = false; // since it was drawn
    $("pause").addEventListener("click", () => this.pause());
  }

  pause() {
    this.paused = !this.paused;
    $("pause").setAttribute("aria-pressed", this.paused);
    this.draw();
  }

  /** A transition came by the stream. */
  add(transition) {
    this.live.unshift({ kind: "transition", ...transition });
    this.live.splice(MAX_LIVE);
    this.changed = true;
  }

  /** Request the entries: of mass events the first ones, however many transitions came since. */
  ask() {
    return Promise.all([
      request({ kind: "mass", limit: MAX_MASS }),
      request({ kind: "transition", limit: this.limit }),
    ]);
  }

  /** The lists of the daemon, which have all until their latest entry, and all until it told the time. */
  show([{ entries: mass }, { entries: transitions }]) {
    this.mass = mass.filter((each) => now() - endOf(each) < MASS_FOR);
    this.entries = transitions;
    const latest = [...mass, ...transitions].reduce((time, each) => Math.max(time, endOf(each)), now());
    this.live = this.live.filter((each) => endOf(each) > latest);
    this.changed = true;
    this.draw();
  }

  /** Show what is there, if it has changed: four mass events have four hundred clients to draw. */
  draw() {
    if (this.paused || this.entries === null || !this.changed) return;
    this.changed = false;
    const shown = [...this.mass, ...[...this.live, ...this.entries].slice(0, this.limit)].sort(newestFirst);
    fill(this.at, ...shown.map(item));
    $("recent-note").hidden = shown.length > 0;
  }

  /** Show no entry. */
  hide() {
    this.entries = null;
    this.live = [];
    this.mass = [];
    fill(this.at);
    $("recent-note").hidden = true;
  }
}

const NOTHING = {
  all: "Nothing yet: no client has gone online or offline.",
  mass: "No mass event yet.",
  transition: "No client has gone online or offline by itself yet.",
};

/** The URL of a page of entries. */
const placeOf = (parameters) => {
  const query = new URLSearchParams(given(parameters));
  return `#/recent${query.size ? `?${query}` : ""}`;
};

/** Show a page of entries on the page of its own. */
export function showRecent({ entries, next_before: next }, { before, kind }) {
  fill($("all-recent"), ...entries.toSorted(newestFirst).map(item));
  $("all-recent-note").hidden = entries.length > 0;
  $("all-recent-note").textContent = NOTHING[kind ?? "all"];
  $("latest").hidden = before === null;
  $("latest").href = placeOf({ kind });
  $("earlier").hidden = next === null;
  $("earlier").href = placeOf({ kind, before: next });
}

/** Mark which kind of entries is listed. */
export function showKind({ kind }) {
  for (const each of $("kinds").children) {
    const isThis = each.getAttribute("href") === placeOf({ kind });
    isThis ? each.setAttribute("aria-current", "true") : each.removeAttribute("aria-current");
  }
}

const item = (entry) => (entry.kind === "mass" ? massEvent(entry) : transition(entry));

function transition({ client_id: id, state, since: began, confirmed_at: confirmed, reason: why }) {
  const parts = [moment(began), badge(state), link(id)];
  const details = [];
  if (state === "offline" && why) details.push(reason(why));
  if (Date.parse(confirmed) - Date.parse(began) >= LATE) details.push(el("span", { class: "quiet" }, "known at ", moment(confirmed)));
  return el("li", {}, ...parts, details.length ? el("div", { class: "details" }, ...details) : "");
}

/** A client of a mass event: is it back, and why is it offline. */
const member = ({ client_id: id, state, reason: why }) =>
  el("li", {}, link(id),
    state === null ? el("span", { class: "quiet" }, "not known any more") : badge(state),
    state === "offline" && why ? reason(why) : "");

function massEvent(entry) {
  const { state, count: number, first, last, reasons, thing_types: types, thing_groups: groups, text, clients } = entry;
  const key = keyOf(entry);
  const counts = (title, byName, words) => {
    const parts = Object.entries(byName).filter(([, each]) => each).sort(([, a], [, b]) => b - a);
    if (!parts.length) return "";
    return el("div", {}, el("dt", {}, title), el("dd", {}, ...parts.flatMap(([name, each], at) =>
      [at ? ", " : "", ...words(name), `\u00a0${count(each)}`])));
  };
  const named = (name) => breakable(visible(name, 80) || "none");
  return el("li", { class: "mass" },
    el("details", { "data-key": key },
      el("summary", { "data-key": key }, moment(first), " ", mark(state), " ", el("b", {}, ...prose(text))),
      el("dl", {},
        el("div", {}, el("dt", {}, "When"), el("dd", {}, `${dated(first)} to ${clock(last)}`)),
        counts("Reasons", state === "offline" ? reasons : {}, (name) => [reason(name)]),
        counts("Types", types, named),
        counts("Groups", groups, named)),
      el("p", { class: "quiet" }, number > clients.length ? `The first ${count(clients.length)} of ${plural(number, "client")}, as they are now:` : `${plural(number, "client")}, as they are now:`),
      el("ul", { class: "members" }, ...clients.map(member))));
}
