// Is it us or them: whether presenced itself works, in a line that is loud only if it does not.

import {
  $, age, count, dated, el, fill, mark, moment, plural, sentence, visible,
} from "./text.js";

const WORDS = {
  receiving: "Receiving events",
  catching_up: "Catching up",
  not_receiving: "Not receiving events",
};
const LEVELS = { receiving: "well", catching_up: "unsure", not_receiving: "down" };
const MARKS = { well: "online", unsure: "pending", down: "offline" };

/** The state of the daemon in words. */
export const stateWords = ({ daemon }) => WORDS[daemon.state];

/** Since when what is shown is old, because no events are received; null if it is not. */
export const oldSince = ({ daemon: { state, since } }) => (state === "not_receiving" ? since : null);

/** Show the state of the daemon, what is wrong with it, and which clients are in doubt. */
export function showState({ daemon }, summary) {
  const lines = problemsOf(daemon, summary);
  const level = daemon.state === "receiving" && lines.length ? "unsure" : LEVELS[daemon.state];
  const parts = [mark(MARKS[level]), " ", el("b", {}, WORDS[daemon.state]), sinceWhen(daemon.since), "."];
  $("state").dataset.level = level;
  fill($("state-line"), el("span", {}, ...parts), ...quietParts(summary));
  fill($("state-details"), ...lines.map((line) => el("li", {}, visible(line))));
}

const sinceWhen = (since) =>
  since === null ? "" : el("span", {}, " since ", moment(since), el("span", { class: "quiet" }, " (", age(since), ")"));

function problemsOf({ state, since }, { readiness }) {
  const lines = readiness.split("\n");
  if (state === "receiving") return lines.slice(1).map(problem);
  const meaning = state === "catching_up"
    ? "Until then no client goes offline."
    : `The fleet is shown as of ${since === null ? "then" : dated(since)}.`;
  return [...lines.map(problem), meaning];
}

/** A line of the readiness as a sentence; one that begins with a client ID is of a connection. */
export const problem = (line) => sentence(line.replace(/^[^\s:]+: /, "MQTT connection $&"));

function quietParts(summary) {
  const parts = [];
  if (summary.aws) parts.push(el("span", {}, ...record(summary.aws)));
  const doubt = doubtOf(summary);
  if (doubt) parts.push(el("a", { href: "#/?in_doubt=true&state=any" }, `${count(doubt)} in doubt`));
  return parts;
}

function record({ last_snapshot: last }) {
  if (last === null) return ["AWS's record: no snapshot since the start."];
  return ["AWS's record: compared ", age(last.at), " ago."];
}

/**
 * How many clients are in doubt.
 *
 * Only AWS verifies a client that stays offline: without it such clients alone are nothing to act on.
 */
function doubtOf({ in_doubt: { clients }, aws }) {
  if (aws === null && !clients.online && !clients.pending) return 0;
  return Object.values(clients).reduce((sum, number) => sum + number, 0);
}

/**
 * How many clients are in doubt by state, since when, and what ends that.
 *
 * If none is, whether that means anything: without events, or before those that wait are applied, no
 * state is known to be that of now.
 */
export function doubtWords(summary, overview) {
  const { in_doubt: { clients, since }, aws } = summary;
  const total = Object.values(clients).reduce((sum, number) => sum + number, 0);
  if (!total) return noDoubt(summary, overview?.daemon.since ?? null);
  const byState = Object.entries(clients).filter(([, number]) => number).map(([state, number]) => `${count(number)} ${state}`).join(", ");
  if (aws === null) {
    const gap = since === null ? "" : ` since the gap at ${dated(since)}, in which events may have been lost`;
    return `The state of ${plural(total, "client")} (${byState}) is in doubt${gap}. The next event of each verifies it.`;
  }
  const gap = since === null ? "" : `events may have been lost in the gap at ${dated(since)}, or `;
  const end = `The next snapshot of AWS's record verifies them${lastOf(aws.last_snapshot)}.`;
  return `The state of ${plural(total, "client")} (${byState}) is in doubt: ${gap}AWS has not confirmed it yet. ${end}`;
}

function noDoubt({ ready, readiness }, since) {
  if (ready) return "No client is in doubt: no gap in the events is open.";
  if (readiness.startsWith("catching up")) return "States may be old until all messages that had waited have been applied.";
  const when = since === null ? "" : ` since ${dated(since)}`;
  return `No event has been received${when}: any client may have changed. If the broker does not keep` +
    " what happens meanwhile, all clients are in doubt once it is back.";
}

const lastOf = (snapshot) =>
  snapshot === null ? "; none has been completed since the start" : `; the last one was at ${dated(snapshot.at)}`;
