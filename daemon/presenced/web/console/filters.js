// The filters of the list of clients: a form, the query in the URL, and the parameters of the API.

import { inBoth, REASONS } from "./reasons.js";
import { $, el, visible } from "./text.js";

const TEXTS = ["contains", "thing_type", "thing_group", "class"];
const FILTERS = [...TEXTS, "state", "reason", "offline_for", "in_doubt", "prefix", "thing"];
const IN_DETAIL = ["thing_type", "thing_group", "class", "offline_for", "in_doubt"];
const CHOICES = ["state", "reason", "offline_for"];
const ANY = "any";

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
    if (IN_DETAIL.some((key) => query.has(key))) $("more-filters").open = true;
    $("clear").hidden = !isFiltered(query) && !query.has("sort");
    $("prefix-note").hidden = !query.has("prefix");
    $("prefix-note").textContent = query.has("prefix") ? `Only client IDs that begin with ${visible(query.get("prefix"), 80)}.` : "";
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
