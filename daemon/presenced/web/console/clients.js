// Who: the clients that the filters select, page by page.

import { ask } from "./api.js";
import { activeOf, complete, FilterForm, isFiltered, parametersOf } from "./filters.js";
import { reason } from "./reasons.js";
import {
  $, address, badge, breakable, el, fill, inDoubt, link, listed, plural, since, visible,
} from "./text.js";

const PAGE = 50, TYPING = 250; // clients, milliseconds
const WHOLE = 12; // characters of a name that are not broken in a column
const MAX_REQUESTS = 5; // until the user is asked to go on: each searches a part of the fleet

/** The list of clients with its filters. */
export class ClientList {
  /** `changed` is called with the query that the filters are set to. */
  constructor(changed) {
    this.form = new FilterForm(changed, TYPING);
  }

  /** Show a query in the filters; `offline` is how many clients are. */
  select(query, offline) {
    this.query = query;
    this.whole = complete(query, offline);
    this.form.show(query, this.whole);
  }

  /** Request the page that is selected. A search gives pages that are not full: they are put together. */
  async ask() {
    const parameters = parametersOf(this.whole);
    parameters.set("limit", PAGE);
    const clients = [];
    for (let requests = 1; ; requests++) {
      const page = await ask(`clients?${parameters}`);
      clients.push(...page.clients);
      const isDone = clients.length >= PAGE || page.next_cursor === null;
      if (isDone || requests === MAX_REQUESTS) return { ...page, clients };
      parameters.set("cursor", page.next_cursor);
    }
  }

  show(page) {
    fill($("clients").tBodies[0], ...page.clients.flatMap(rows));
    $("clients").hidden = !page.clients.length;
    this.pointTo("first-page", this.query.has("cursor") ? "" : null);
    this.pointTo("next-page", page.next_cursor);
    $("list-title").textContent = this.title();
    fill($("list-note"), ...this.note(page));
    const classes = page.clients.flatMap((each) => Object.entries(each.classes).map((pair) => pair.join(":")));
    this.form.suggest(
      page.clients.map((each) => each.thing_type).filter(Boolean),
      page.clients.flatMap((each) => each.thing_groups),
      classes);
  }

  /** Show no client. */
  hide() {
    fill($("clients").tBodies[0]);
    for (const id of ["clients", "first-page", "next-page"]) $(id).hidden = true;
    $("list-note").textContent = "";
  }

  title() {
    const isLast = this.whole.get("state") === "offline" && this.whole.get("sort") === "-since";
    if (isLast && activeOf(this.query).every(([key]) => key === "state")) return "Who went offline last";
    return isFiltered(this.query) ? "Clients that match" : "Clients";
  }

  /** Point a link to the page after a cursor; empty is the first page, null hides the link. */
  pointTo(id, cursor) {
    $(id).hidden = cursor === null;
    const next = new URLSearchParams(this.whole);
    next.delete("cursor");
    if (cursor) next.set("cursor", cursor);
    $(id).href = `#/?${next}`;
  }

  note({ clients, next_cursor: next, partitions }) {
    if (clients.length) return [`${plural(clients.length, "client")} on this page${next ? "; more follow" : ""}.`];
    if (next) return ["No match in this part of the fleet. “Next page” searches the rest."];
    if (this.query.has("cursor")) return ["No more clients."];
    const filtered = isFiltered(this.whole);
    if (partitions !== null) {
      return [`No client ${filtered ? "that matches " : ""}is in the partitions of this worker.`];
    }
    if (!filtered) return ["No client is known yet."];
    return ["No client matches. ", ...this.wider()];
  }

  /** What to do if no client matches. */
  wider() {
    const state = this.whole.get("state");
    if (state === "any") return [el("a", { href: "#/?state=any" }, "Show all clients")];
    const next = new URLSearchParams(this.query);
    next.set("state", "any");
    return [`Only ${visible(state, 20)} clients are listed: `, el("a", { href: `#/?${next}` }, "search in all states")];
  }
}

/** Move the keyboard focus to the link of a client; to `other` if it is not on the page. */
export function focusClient(id, other) {
  const links = [...$("clients").querySelectorAll("a")];
  (links.find((each) => each.getAttribute("href") === address(id)) ?? other).focus();
}

/** The row of a client, and one with its reason beneath for where the columns have no room. */
function rows(client) {
  const why = client.reason ? reason(client.reason) : "";
  const row = el("tr", {},
    el("th", { scope: "row" }, link(client.client_id)),
    el("td", {}, badge(client.state), client.verified ? "" : " ", client.verified ? "" : inDoubt()),
    el("td", { class: "time" }, client.since === null ? "" : since(client.since)),
    el("td", { class: "wide why" }, why),
    el("td", { class: "widest" }, ...breakable(visible(client.thing_type, 64), WHOLE)),
    el("td", { class: "widest" }, ...listed(client.thing_groups, 48, WHOLE)));
  return why ? [row, el("tr", { class: "narrow" }, el("td", { colspan: 3 }, why.cloneNode(true)))] : [row];
}
