// The page of clients whose connections end often, and of those that fight over a client ID.

import { ask } from "./api.js";
import { $, badge, count, duration, el, fill, link, plural, tag } from "./text.js";

export const flappingOf = () => ask("flapping");

/** Show the clients, worst first. */
export function showFlapping({ clients, window_seconds: window }) {
  const span = window === 3600 ? "hour" : duration(1000 * window);
  fill($("flapping-lead"), clients.length
    ? `${plural(clients.length, "client")} with the most interruptions in the last ${span}, worst first.`
    : `No client was interrupted often in the last ${span}.`);
  $("flapping-table").hidden = !clients.length;
  const most = Math.max(1, ...clients.flatMap((each) => [each.flaps, each.takeovers, each.short_sessions]));
  fill($("flapping-table").tBodies[0], ...clients.map((each) => row(each, most)));
}

function row(client, most) {
  const number = (value) => el("td", { class: "number" }, value ? bar(value / most) : "", value ? count(value) : el("span", { class: "quiet" }, "0"));
  return el("tr", {},
    el("th", { scope: "row" }, link(client.client_id), el("span", { class: "narrow" }, ...stateOf(client))),
    number(client.flaps),
    number(client.takeovers),
    number(client.short_sessions),
    el("td", { class: "wide" }, ...stateOf(client)));
}

const stateOf = ({ state, held }) => [badge(state), held ? " " : "", held ? tag("held") : ""];

function bar(share) {
  const width = el("span", { class: "bar-fill" });
  width.style.width = `${100 * share}%`;
  return el("span", { class: "bar-track", "aria-hidden": "true" }, width);
}
