// The page of one client: the explanation of its state, who shares its fate, and its history.

import { ask, Refusal } from "./api.js";
import { reason } from "./reasons.js";
import { asOf, doubtOfPart } from "./state.js";
import {
  $, age, badge, breakable, clock, code, count, duration, el, facts, fill, inDoubt, listed, mark, moment, name, now, percent,
  plural, showShare, since, tag, visible,
} from "./text.js";

/** The state that an entry of a history leads to, by effect; other effects change nothing. */
const LEADS_TO = {
  went_online: "online",
  flap_suppressed: "online",
  connection_replaced: "online",
  began_delay: "pending",
  went_offline: "offline",
  confirmed_offline: "offline",
};
/** Effects of AWS's record after which the client is what the record says. */
const CHANGES = ["adopted", "corrected", "offline_prevented"];
const IGNORED = ["stale", "duplicate"];
const LISTED = 20; // how many types and groups the overview has at most

const effectOf = (entry) => (entry.kind === "confirmed_offline" ? entry.kind : entry.effect);
const stateOf = (entry) =>
  CHANGES.includes(effectOf(entry)) ? (entry.connected ? "online" : "offline") : LEADS_TO[effectOf(entry)];
const timeOf = (entry) => entry.received_at ?? entry.at;
const nounOf = (type) => ({ connected: "connect", disconnected: "disconnect" })[type] ?? type;
const versionOf = (event) => (event.version === null ? "" : ` of version ${event.version}`);

/** Return story and history of a client; throws what `ask` throws. */
export async function clientOf(id) {
  // Browsers resolve these as relative paths.
  if (id === "." || id === "..") {
    throw new Refusal(404, "browsers cannot request a client with this ID; use curl --path-as-is");
  }
  const path = `clients/${encodeURIComponent(id)}`;
  const [story, history] = await Promise.all([ask(path), ask(`${path}/history`)]);
  return { story, history };
}

/** Show the client ID before anything else is known, or if nothing is. */
export function showName(id) {
  fill($("device-title"), name(id));
  for (const part of ["badge", "story"]) fill($(part));
  $("device-parts").hidden = $("company").hidden = $("client-old").hidden = true;
}

/**
 * Show all about a client; `overview` tells who else is offline, if it is known.
 *
 * `old` is as of when that is, `at` a time in milliseconds, null if it is not known, then `from`
 * is where it comes from; and `why`. It is null if it is live.
 */
export function showClient({ story, history }, overview, old) {
  const doubt = old !== null ? asOf(old) : overview ? doubtOfPart(overview) : null;
  $("client-old").hidden = doubt === null;
  fill($("client-old"), ...(doubt ?? []));
  const parts = [badge(story.state), " "];
  if (story.since !== null) parts.push(...(old === null ? ["for ", age(story.since)] : ["since ", moment(story.since)]), " ");
  if (!story.verified) parts.push(inDoubt(), " ");
  for (const each of story.troubles) parts.push(el("strong", { class: "trouble" }, each), " ");
  if (story.flapping_until) parts.push(tag("held as flapping"));
  fill($("badge"), ...parts);
  fill($("story"), visible(story.explanation));
  showCompany(story, overview?.offline);
  showFacts(story);
  showTimeline(history, old?.at ?? null);
  $("device-parts").hidden = false;
}

/** Show whether others in its groups or of its type are offline, too, if that is known. */
function showCompany({ state, thing_groups: groups, thing_type: type }, offline) {
  const known = state === "offline" && offline !== undefined ? [
    ...groups.map((each) => ["thing_group", each, offline.by_thing_group]),
    ...(type === null ? [] : [["thing_type", type, offline.by_thing_type]]),
  ].map(([kind, each, all]) => [kind, all.find(({ name: one }) => one === each), all.length < LISTED]) : [];
  const others = known.filter(([, share]) => share?.offline > 1);
  const isAlone = known.length > 0 && known.every(([, share, isAll]) => share?.offline === 1 || (!share && isAll));
  $("company").hidden = !others.length && !isAlone;
  fill($("company"), ...(others.length
    ? ["Not alone: ", ...others.flatMap(company), "."]
    : ["Alone: no other thing in its groups or of its type is offline."]));
}

function company([kind, { name: of, offline, of: all }], at) {
  const query = new URLSearchParams({ state: "offline", [kind]: of, sort: "-since" });
  const link = el("a", { href: `#/?${query}` }, ...breakable(visible(of, 80)));
  const what = kind === "thing_type" ? "of type " : "in ";
  return [at ? "; " : "", `${count(offline)} of ${count(all)} things ${what}`, link, ` are offline (${percent(offline / all)})`];
}

function showFacts(story) {
  fill($("facts"), ...facts([
    ["Last transition", story.last_transition === null ? "" : since(story.last_transition)],
    ["Reason", story.reason === null ? "" : reason(story.reason)],
    ["Version", story.version === null ? "" : code(`${story.version}`)],
    ["Session", story.session === null ? "" : code(story.session, Infinity)],
    ["By AWS's record", story.record_time === null ? "" : since(story.record_time)],
    ["Next change", story.deadline === null ? "" : deadline(story.deadline)],
    ["Disconnects still to come", story.awaited_disconnects ? `${story.awaited_disconnects}` : ""],
    ["Thing", story.thing === null ? "" : el("bdi", {}, ...breakable(visible(story.thing)))],
    ["Thing type", visible(story.thing_type)],
    ["Groups", story.thing_groups.length ? el("span", {}, ...listed(story.thing_groups, Infinity)) : ""],
    ...Object.entries({ ...story.classes, ...story.attributes })
      .map(([key, value]) => [visible(key), visible(value)]),
  ]));
  const last = Object.entries(story.last_events);
  fill($("last-events"), ...facts(last.map(([type, event]) =>
    [type, el("span", {}, since(event.received_at), " ", details(event))])));
  $("last-title").hidden = !last.length;
}

function deadline({ then, at, held }) {
  const what = then === "offline" ? "goes offline" : "is forgotten";
  if (held && (then === "offline" || Date.parse(at) <= now())) return `${what} once presenced has caught up`;
  if (at === null) return `${what} after the year 9999`;
  return el("span", {}, `${what} at `, moment(at));
}

/** Show the history, which ends at `end`; null for now. */
function showTimeline({ entries, kept_per_client: kept }, end) {
  fill($("timeline"), ...entries.map(item));
  const steps = entries.filter(stateOf).reverse();
  const times = steps.map((entry) => Date.parse(timeOf(entry)));
  // What is old may have events that came before those that were missed.
  const ends = [...times.slice(1), Math.max(end ?? now(), ...times.slice(-1))];
  const spans = steps.map((entry, at) => [stateOf(entry), ends[at] - times[at]]);
  showShare($("presence"), spans);
  $("presence").hidden = $("span").hidden = !steps.length;
  if (steps.length) {
    const phases = spans.map(([state, span]) => `${state} for ${duration(span)}`);
    const label = `From ${clock(timeOf(steps[0]))} on: ${phases.join(", ")}`;
    $("presence").setAttribute("aria-label", label);
    fill($("span"), moment(timeOf(steps[0])), el("span", {}, onlineOf(spans)), el("span", {}, end === null ? "now" : moment(ends.at(-1))));
  }
  $("bounds").textContent = bounds(entries.length, kept);
}

/** The part of the known time in which it was online, the offline delay included. */
function onlineOf(spans) {
  const all = spans.reduce((sum, [, span]) => sum + span, 0);
  const online = spans.filter(([state]) => state !== "offline").reduce((sum, [, span]) => sum + span, 0);
  return all > 0 ? `online ${percent(online / all)} of ${duration(all)}` : "";
}

function item(entry) {
  const ignored = IGNORED.includes(effectOf(entry));
  return el("li", ignored ? { class: "ignored" } : {},
    moment(timeOf(entry)),
    mark(stateOf(entry) ?? "none"),
    el("span", {}, words(entry), " ", details(entry)));
}

/** Describe an entry of a history. */
function words(entry) {
  const what = nounOf(entry.type);
  switch (effectOf(entry)) {
    case "confirmed_offline":
      return `Offline: it did not reconnect within ${duration(Date.parse(entry.at) - Date.parse(entry.since))}.`;
    case "went_online":
      return what === "connect" ? "Connected: online." : "Assumed online, because it subscribed.";
    case "went_offline":
      return "Disconnected: offline immediately.";
    case "began_delay":
      return "Disconnected; the offline delay began.";
    case "flap_suppressed":
      return "Reconnected within the offline delay: it stayed online.";
    case "connection_replaced":
      return "Connected while another connection was open, which it replaced.";
    case "adopted":
      return `AWS's record was adopted: ${entry.connected ? "online" : "offline"}.`;
    case "corrected":
      return `AWS's record corrected it: ${entry.connected ? "online" : "offline"}.`;
    case "offline_prevented":
      return "AWS answered that it is connected: it stayed online.";
    case "offline_confirmed":
      return "AWS answered that it is disconnected.";
    case "asked":
      return "The offline delay is over; AWS was asked whether it is connected.";
    case "unanswered":
      return "AWS could not be asked, or did not answer in time.";
    case "duplicate":
      return `A second copy of a ${what} was ignored.`;
    case "stale":
      return `${late(entry)} was ignored: ${rival(entry.against)}.`;
    default:
      return entry.type === "connect_failed" ? "An attempt to connect failed." : `Noted: ${what}.`;
  }
}

/** Describe an event that is older than the last accepted one. */
function late({ type, against }) {
  const ofEarlier = type === "disconnected" && against?.type === "connected";
  return ofEarlier ? "The disconnect of an earlier connection" : `A ${nounOf(type)}`;
}

const rival = (against) =>
  against ? `the ${nounOf(against.type)}${versionOf(against)} is later` : "a later event is known";

/** Format the details of an event in one line. */
function details(event) {
  const late = event.late_seconds >= 1 ? `came ${duration(1000 * event.late_seconds)} late` : null;
  const version = (event.version ?? null) === null ? null : `version ${event.version}`;
  const why = event.reason ? reason(event.reason) : null;
  const parts = [why, version, late, event.operation].filter(Boolean);
  return el("span", { class: "event" }, ...parts.flatMap((part, at) => (at ? [" · ", part] : [part])));
}

function bounds(number, kept) {
  const bound =
    `At most ${plural(kept, "event")} of a client are kept, in memory since presenced was started,` +
    " and only for the clients with the most recent events.";
  if (!number) return `No events of this client are remembered. ${bound}`;
  return number < kept ? bound : `Earlier events are no longer remembered. ${bound}`;
}
