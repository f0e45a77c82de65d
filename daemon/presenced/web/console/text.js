// Elements, words and times. Client IDs and other values from devices are hostile: they only ever
// become text nodes, and characters that would affect the text around them are shown as escapes.

const number = new Intl.NumberFormat("en");
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const JOINER = "\u200d"; // of emoji

let ahead = 0; // how far the daemon's clock is ahead of this machine's, in milliseconds

export const $ = (id) => document.getElementById(id);

/** Return an element with attributes and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** What is the same in two versions of an element: its key, or where it leads to. */
const keyOf = (element) => element.dataset.key ?? element.href;

/** Replace the content of an element if it differs; what has the focus and what is open stays so. */
export function fill(at, ...children) {
  const next = at.cloneNode(false);
  next.append(...children.filter((child) => child !== null && child !== ""));
  const open = new Set([...at.querySelectorAll("details[open]")].map(keyOf));
  for (const each of next.querySelectorAll("details")) if (open.has(keyOf(each))) each.open = true;
  if (next.isEqualNode(at)) return;
  const focused = at.contains(document.activeElement) ? keyOf(document.activeElement) : undefined;
  at.replaceChildren(...next.childNodes);
  if (focused === undefined) return;
  [...at.querySelectorAll("a, summary")].find((each) => keyOf(each) === focused)?.focus();
}

/** Escape characters that are invisible or change the direction of text; cut after `limit`. */
export function visible(text, limit = Infinity) {
  const all = (text ?? "").replace(HIDDEN, (one) =>
    one === JOINER ? one : `\\u{${one.codePointAt(0).toString(16)}}`);
  return all.length > limit ? `${[...all].slice(0, limit).join("")}…` : all;
}

/**
 * Text with places to break lines: none up to `whole` characters, else after punctuation, and
 * within a word only if it is very long.
 */
export function breakable(text, whole = 20) {
  if (text.length <= whole) return text ? [el("span", { class: "whole" }, text)] : [];
  const parts = text.match(/[^\p{P} ]{1,24}[\p{P} ]*|[\p{P} ]{1,24}/gu) ?? [];
  return parts.flatMap((part) => [part, el("wbr")]).slice(0, -1);
}

/** The URL of a client on this page. */
export const address = (id) => `#/clients/${encodeURIComponent(id)}`;

/** A client ID, cut after `limit` characters. */
export const name = (id, limit) => el("bdi", { class: "id" }, ...breakable(visible(id, limit)));

/** A link to a client. */
export const link = (id) => el("a", { href: address(id) }, name(id, 160));

/** The mark of a state, recognisable by its shape as well as by its colour. */
export const mark = (state) => el("span", { class: "mark", "data-state": state });

/** A state as mark and word. */
export const badge = (state) =>
  el("span", { class: "state", "data-state": state }, mark(state), ` ${state}`);

/** A short remark about a client. */
export const tag = (text) => el("span", { class: "tag" }, text);

/** The tag of a client whose state is in doubt, because events may have been lost. */
export const inDoubt = () => tag("in doubt");

/** Text in a fixed-width font; names that AWS gives to reasons are not broken. */
export const code = (text, limit = 64) =>
  el("span", { class: "code" }, ...breakable(visible(text, limit), 28));

/** Names as a list, as many as fit into `limit` characters, and how many more there are. */
export function listed(names, limit, whole) {
  let room = limit;
  const fits = names.filter((each) => (room -= each.length + 2) > -2);
  const shown = fits.length ? fits : names.slice(0, 1);
  const more = names.length - shown.length;
  const parts = shown.flatMap((each, at) => [at ? ", " : "", ...breakable(visible(each, limit), whole)]);
  return more ? [...parts, ` and ${count(more)} more`] : parts;
}

/** A sentence: with a capital letter, unless its first word is a name, and a full stop. */
export function sentence(text) {
  const begun = /^[a-z]+( |$)/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** Terms and their values; terms without a value are omitted. */
export const facts = (pairs) =>
  pairs
    .filter(([, value]) => value !== "" && value !== null)
    .map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, value)));

/** Show a bar with one part for each state, as wide as its weight. */
export function showShare(at, parts) {
  const shown = parts.filter(([, weight]) => weight > 0);
  at.replaceChildren(...shown.map(([state]) => el("span", { "data-state": state })));
  shown.forEach(([, weight], index) => (at.children[index].style.flexGrow = weight));
}

export const count = (value) => number.format(value);
export const plural = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;

/** Adjust to the daemon's clock. */
export const setClock = (time) => (ahead = Date.parse(time) - Date.now());

export const now = () => Date.now() + ahead;

const NEAR = 20 * 3600 * 1000; // milliseconds: a time so near cannot be taken for that of another day
const day = (time) => new Date(time).toISOString().slice(0, 10);

const PERCENT = "\u00a0%"; // no line breaks between a number and its unit

/** A text of the daemon; no line breaks between a number and its unit, or within a short name. */
export const prose = (text) =>
  visible(text)
    .replace(/(\d) (?=(?:%|s|min)(?![\p{L}\d]))/gu, "$1\u00a0")
    .replace(/([<>]) (?=\d)/g, "$1\u00a0")
    .split(/( )/)
    .flatMap((word) => (word === " " ? [word] : breakable(word)));

/** A share from 0 to 1 in percent, by the rule of `percent` in presenced/system/shares.py. */
export function percent(share) {
  const isWhole = share === 0 || share === 1;
  const digits = !isWhole && (share < 0.01 || share > 0.99) ? 100 : 10;
  const rounded = Math.round(100 * digits * share) / digits;
  const text = isWhole ? rounded : { 0: "<\u00a00.01", 100: ">\u00a099.99" }[rounded] ?? rounded;
  return `${text}${PERCENT}`;
}

/** The hour and minute. */
export const minute = (time) => new Date(time).toISOString().slice(11, 16);

/** The time of day. */
export const clock = (time) => new Date(time).toISOString().slice(11, 19);

/** A time, with the date unless it is within the last hours: at night much was before midnight. */
export const dated = (time) =>
  Math.abs(now() - new Date(time)) < NEAR ? clock(time) : `${day(time)} ${clock(time)}`;

/** A time as an element, with the date unless it is within the last hours. */
export const moment = (time) =>
  el("time", { datetime: new Date(time).toISOString() }, dated(time));

/** A time and how long ago that is. */
export const since = (time) =>
  el("span", { class: "since" }, moment(time), " ", el("span", { class: "quiet" }, age(time), " ago"));

/** The time since then, kept up to date by `updateAges`. */
export function age(time) {
  const at = Date.parse(time);
  return el("span", { class: "age", "data-at": at }, ageOf(at));
}

const ageOf = (at) => duration(Math.max(0, now() - at));

/** Update all ages on the page. */
export function updateAges() {
  for (const each of document.querySelectorAll("[data-at]")) {
    const text = ageOf(Number(each.dataset.at));
    if (each.textContent !== text) each.textContent = text;
  }
}

/** Format milliseconds in a suitable unit. */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${Math.round(seconds)} s`;
}
