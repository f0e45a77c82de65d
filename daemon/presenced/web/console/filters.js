// The filters of the list of clients: a form, the query in the URL, and the parameters of the API.

import { inBoth, inWords, REASONS } from "./reasons.js";
import { $, el, fill, visible } from "./text.js";

const TEXTS = ["contains", "thing_type", "thing_group", "class"];
const FILTERS = [...TEXTS, "state", "reason", "offline_for", "in_doubt", "prefix", "thing"];
const IN_DETAIL = ["thing_type", "thing_group", "class", "offline_for", "in_doubt"];
const CHOICES = ["state", "reason", "offline_for"];
const ANY = "any";
/** Those of which an empty value selects: clients without a reason, type or group. */
const EMPTY = ["reason", "thing", "thing_type", "thing_group"];
const LENGTHS = { __proto__: null, "10m": "10 minutes", "1h": "1 hour", "6h": "6 hours", "1d": "1 day", "7d": "7 days" };

/** Whether a value of a filter selects all; `any` may also be a name, or part of a client ID. */
const isAny = (key, value) => value === ANY && CHOICES.includes(key);

/** Whether a query selects some clients only. */
export const isFiltered = (query) =>
  FILTERS.some((key) => query.has(key) && !isAny(key, query.get(key)));

/** Whether a query selects clients without a type, or without a group: the field is empty then, too. */
const isNone = (key, query) => key.startsWith("thing_") && query.get(key) === "";

/**
 * The query with the state and order that are meant if it names none: what went offline last, while
 * any client is `offline`. A search for an ID is in all states.
 */
export function complete(query, offline) {
  const whole = new URLSearchParams(query);
  const isSearch = ["contains", "prefix", "thing"].some((key) => query.has(key));
  if (!whole.has("state")) whole.set("state", offline && !isSearch ? "offline" : ANY);
  const isOffline = whole.get("state") === "offline" || whole.has("offline_for");
  if (!whole.has("sort")) whole.set("sort", isOffline ? "-since" : "client_id");
  return whole;
}

/** The parameters of the API for a complete query. */
export function parametersOf(query) {
  const parameters = new URLSearchParams();
  for (const key of [...FILTERS, "sort", "cursor"]) {
    for (const value of query.getAll(key)) {
      const isEmpty = value === "" && key !== "reason" && !key.startsWith("thing");
      if (!isAny(key, value) && !isEmpty) parameters.append(key, value);
    }
  }
  return parameters;
}

/** The filters of a query that select some clients only, each as key and value. */
export const activeOf = (query) =>
  FILTERS.flatMap((key) => query.getAll(key).map((value) => [key, value]))
    .filter(([key, value]) => !isAny(key, value) && (value !== "" || EMPTY.includes(key)));

/** A filter in words. */
function inWordsOf(key, value) {
  const shown = visible(value, 80);
  switch (key) {
    case "contains": return `ID contains ${shown}`;
    case "prefix": return `ID begins with ${shown}`;
    case "thing": return `thing ${shown}`;
    case "thing_type": return value === "" ? "no thing type" : `thing type ${shown}`;
    case "thing_group": return value === "" ? "no group" : `group ${shown}`;
    case "class": return `class ${shown}`;
    case "reason": return visible(inWords(value), 80);
    case "offline_for": return `offline longer than ${LENGTHS[value] ?? shown}`;
    case "in_doubt": return value === "true" ? "in doubt" : "not in doubt";
    default: return shown;
  }
}

/** Show which filters are on: each is a link that removes it, and the last one removes all. */
function showActive(query) {
  const active = activeOf(query);
  $("active").hidden = !active.length;
  fill($("active"), ...(active.length ? [
    el("span", { class: "quiet" }, "Filtered by"),
    ...active.flatMap(([key, value]) => [" ", chip(query, key, value)]),
    " ",
    el("a", { id: "clear", href: "#/" }, "Clear all filters"),
  ] : []));
}

function chip(query, key, value) {
  const rest = new URLSearchParams([...query].filter(([k, v]) => k !== "cursor" && (k !== key || v !== value)));
  const words = inWordsOf(key, value);
  return el("a", { class: "chip", href: `#/?${rest}`, "aria-label": `Remove the filter ${words}` },
    el("bdi", {}, words), el("span", { "aria-hidden": "true" }, " ×"));
}

const stateField = () => $("state-filter");

/** The form of the filters. */
export class FilterForm {
  /** `changed` is called with the new query, for text when typing pauses for `typing` milliseconds. */
  constructor(changed, typing) {
    this.query = new URLSearchParams();
    $("reason").append(...REASONS.map((name) => el("option", { value: name }, inBoth(name))));
    const form = $("search");
    this.timer = null; // set while what is in the form is not yet in the query
    const now = () => {
      clearTimeout(this.timer);
      this.timer = null;
      changed(this.read());
    };
    form.addEventListener("input", ({ target }) => {
      clearTimeout(this.timer);
      this.timer = setTimeout(now, TEXTS.includes(target.id) ? typing : 0);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      now();
    });
  }

  /** The query of what is in the form. A search for text, without a state chosen, is in all states. */
  read() {
    const query = new URLSearchParams();
    for (const key of ["prefix", "thing"]) if (this.query.has(key)) query.set(key, this.query.get(key));
    for (const key of TEXTS) if ($(key).value || isNone(key, this.query)) query.set(key, $(key).value);
    for (const key of ["reason", "offline_for"]) if ($(key).value !== ANY) query.set(key, $(key).value);
    if ($("in_doubt").checked) query.set("in_doubt", "true");
    const isChosen = this.query.has("state") || stateField().value !== this.shown.get("state");
    if (isChosen) query.set("state", stateField().value);
    if (this.query.has("sort") || $("sort").value !== this.shown.get("sort")) query.set("sort", $("sort").value);
    return query;
  }

  /** Show a query, and what it means. Text that is being typed stays. */
  show(query, whole) {
    this.query = query;
    this.shown = whole;
    if (this.timer === null) for (const key of TEXTS) set($(key), query.get(key) ?? "");
    for (const key of TEXTS) $(key).placeholder = isNone(key, query) ? "none" : "";
    for (const key of ["reason", "offline_for"]) choose($(key), query.get(key) ?? ANY);
    choose(stateField(), whole.get("state"));
    choose($("sort"), whole.get("sort"));
    $("in_doubt").checked = query.get("in_doubt") === "true";
    const more = activeOf(query).filter(([key]) => IN_DETAIL.includes(key)).length;
    $("more-active").textContent = more ? ` (${more} on)` : "";
    showActive(query);
  }

  /** Suggest names of types and groups, and of classes, whose field is hidden until there are any. */
  suggest(types, groups, classes) {
    for (const [list, names] of [["types", types], ["groups", groups], ["classes", classes]]) {
      const known = new Set([...$(list).children].map((each) => each.value));
      $(list).append(...[...new Set(names)].filter((name) => !known.has(name)).slice(0, 100 - known.size).map((name) => el("option", { value: name })));
    }
    $("class-field").hidden = !$("classes").children.length && !this.query.has("class");
  }
}

function set(field, value) {
  if (field.value !== value) field.value = value;
}

/** Choose an option, which is added if the select lacks it: the URL may have been typed by hand. */
function choose(select, value) {
  if (![...select.options].some((each) => each.value === value)) {
    select.append(el("option", { value }, visible(value, 80) || "none given"));
  }
  set(select, value);
}
