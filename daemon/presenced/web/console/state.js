// Is it us or them: whether presenced itself works, in a line that is loud only if it does not.

import { $, age, count, el, fill, listed, mark, moment, prose, sentence } from "./text.js";

const WORDS = {
  receiving: "Receiving events",
  receiving_partly: "Receiving events, except ",
  catching_up: "Catching up",
  not_receiving: "Not receiving events",
};
const LEVELS = { receiving: "well", receiving_partly: "unsure", catching_up: "unsure", not_receiving: "down" };
const MARKS = { well: "online", unsure: "pending", down: "offline" };

const LONGEST = 160; // characters

/** The state of the daemon in words. */
export const stateWords = ({ daemon }) => WORDS[daemon.state] + daemon.not_received.join(", ");

/** Why states cannot be trusted while only a part of the events is received; null if they can. */
export const doubtOfPart = ({ daemon: { state, is_current: isCurrent, meaning } }) =>
  state === "receiving_partly" && !isCurrent ? prose(meaning[0]) : null;

/** As of when what is shown is, and why, because no events are received; null if they are. */
export function oldOf({ partitions, daemon: { state, as_of: at } }) {
  if (state !== "not_receiving") return null;
  const from = `From the state ${partitions === null ? "file" : "topic"}`;
  if (at === null) return { at, from, why: ["no events since presenced started"] };
  return { at: Date.parse(at), why: ["no events for ", age(at)] };
}

/** As of when something is, in words; ages go on, but what is old does not get older by them. */
export const asOf = ({ at, from, why }) => [...(at === null ? [from] : ["As of ", moment(at)]), ": ", ...why, "."];

/** Show the state of the daemon, what is wrong with it, and which clients are in doubt. */
export function showState({ daemon }, summary) {
  const lines = problemsOf(daemon, summary);
  const level = daemon.state === "receiving" && lines.length ? "unsure" : LEVELS[daemon.state];
  const parts = [mark(MARKS[level]), " ", el("b", {}, WORDS[daemon.state], ...listed(daemon.not_received, LONGEST)), sinceWhen(daemon.since), "."];
  $("state").dataset.level = level;
  fill($("state-line"), el("span", {}, ...parts), ...quietParts(summary));
  fill($("state-details"), ...lines.map((line) => el("li", {}, ...prose(line))));
}

const sinceWhen = (since) =>
  since === null ? "" : el("span", {}, " since ", moment(since), el("span", { class: "quiet" }, " (", age(since), ")"));

/** What is wrong, and what that means while the states may not be those of now. */
function problemsOf({ state, meaning }, { readiness }) {
  const lines = readiness.split("\n");
  if (state === "receiving") return lines.slice(1).map(problem);
  return [...lines.map(problem), meaning.join(" ")];
}

/** A line of the readiness as a sentence; one that begins with a client ID is of a connection. */
export const problem = (line) => sentence(line.replace(/^[^\s:]+: /, "MQTT connection $&"));

function quietParts({ aws, in_doubt: { clients } }) {
  const parts = [];
  if (aws) parts.push(el("span", {}, ...record(aws)));
  const doubt = Object.values(clients).reduce((sum, number) => sum + number, 0);
  if (doubt) parts.push(el("a", { href: "#/?in_doubt=true&state=any" }, `${count(doubt)} in doubt`));
  return parts;
}

function record({ last_snapshot: last }) {
  if (last === null) return ["AWS's record: no snapshot since the start."];
  return ["AWS's record: compared ", age(last.at), " ago."];
}
