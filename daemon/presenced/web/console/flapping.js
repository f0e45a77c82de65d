// The page of clients whose connections end often, that fight over a client ID, or that are refused.

import { ask } from "./api.js";
import { $, badge, count, duration, el, fill, link, name, plural, tag } from "./text.js";

const KINDS = ["flaps", "takeovers", "refused", "short_sessions"];

export const flappingOf = () => ask("flapping");

/** Show the clients, worst first. */
export function showFlapping({ clients, window_seconds: window }) {
  const span = window === 3600 ? "hour" : duration(1000 * window);
  fill($("flapping-lead"), clients.length
    ? `${plural(clients.length, "client")} with the most disconnects and refused connects in the last ${span}, worst first.`
    : `No client was disconnected or refused often in the last ${span}.`);
  $("flapping-table").hidden = !clients.length;
  const most = Math.max(1, ...clients.flatMap((each) => KINDS.map((kind) => each[kind])));
  fill($("flapping-table").tBodies[0], ...clients.map((each) => row(each, most)));
}

function row(client, most) {
  const number = (value) => el("td", { class: "number" }, value ? bar(value / most) : "", value ? count(value) : el("span", { class: "quiet" }, "0"));
  const id = client.state === null ? name(client.client_id, 160) : link(client.client_id);
  return el("tr", {},
    el("th", { scope: "row" }, id, el("span", { class: "narrow" }, ...stateOf(client))),
    ...KINDS.map((kind) => number(client[kind])),
    el("td", { class: "wide" }, ...stateOf(client)));
}

const stateOf = ({ state, held }) => state === null
  ? [el("span", { class: "quiet" }, "never seen online")]
  : [badge(state), held ? " " : "", held ? tag("held") : ""];

function bar(share) {
  const width = el("span", { class: "bar-fill" });
  width.style.width = `${100 * share}%`;
  return el("span", { class: "bar-track", "aria-hidden": "true" }, width);
}
