// Elements, words and times. Client IDs and whatever else comes from devices are hostile: they only
// ever become text nodes, and what they would do to the text around them is shown instead.

const number = new Intl.NumberFormat("en");
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const JOINER = "\u200d"; // of emoji

let ahead = 0; // the daemon's clock, milliseconds before that of this machine

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** Replace what is in an element, where it is other than before; the focus stays on its link. */
export function fill(at, ...children) {
  const next = at.cloneNode(false);
  next.append(...children);
  if (next.isEqualNode(at)) return;
  const focused = at.contains(document.activeElement) ? document.activeElement.href : null;
  at.replaceChildren(...next.childNodes);
  if (focused) [...at.querySelectorAll("a")].find((a) => a.href === focused)?.focus();
}

/** What is not to be seen, or turns the direction of text, is shown by its number. */
export function visible(text, most = Infinity) {
  const all = (text ?? "").replace(HIDDEN, (one) =>
    one === JOINER ? one : `\\u{${one.codePointAt(0).toString(16)}}`);
  return all.length > most ? `${[...all].slice(0, most).join("")}…` : all;
}

/** The address of a client on this page. */
export const address = (id) => `#/clients/${encodeURIComponent(id)}`;

/** A client ID, cut off where it is longer. */
export const name = (id, most) => el("bdi", { class: "id" }, visible(id, most));

/** A client ID that leads to its client. */
export const link = (id) => el("a", { href: address(id) }, name(id, 160));

/** The sign of a state: its shape tells as much as its colour. */
export const mark = (state) => el("span", { class: "mark", "data-state": state });

/** A state as a sign and a word. */
export const badge = (state) =>
  el("span", { class: "state", "data-state": state }, mark(state), ` ${state}`);

/** Tells that events may have been lost. */
export const unverified = () => el("span", { class: "unverified" }, "unverified");

/** Text as machines write it. */
export const code = (text, most = 64) => el("span", { class: "code" }, visible(text, most));

/** Terms and what they are; those without a value are left out. */
export const facts = (pairs) =>
  pairs
    .filter(([, value]) => value !== "" && value !== null)
    .map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, value)));

/** A bar with a part for each state and its weight. */
export function showShare(at, parts) {
  const shown = parts.filter(([, weight]) => weight > 0);
  at.replaceChildren(...shown.map(([state]) => el("span", { "data-state": state })));
  shown.forEach(([, weight], index) => (at.children[index].style.flexGrow = weight));
}

export const count = (value) => number.format(value);
export const plural = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;

/** Take on what the daemon's clock says. */
export const setClock = (time) => (ahead = Date.parse(time) - Date.now());

export const now = () => Date.now() + ahead;

const day = (time) => new Date(time).toISOString().slice(0, 10);

/** The time of day. */
export const clock = (time) => new Date(time).toISOString().slice(11, 19);

/** A time as an element, with the date where that is another than today. */
export const moment = (time) =>
  el("time", { datetime: new Date(time).toISOString() },
    day(time) === day(now()) ? clock(time) : `${day(time)} ${clock(time)}`);

/** A time and how long ago that is. */
export const since = (time) => el("span", {}, moment(time), el("span", { class: "quiet" }, " ", age(time), " ago"));

/** How much time has passed since then. */
export function age(time) {
  const at = Date.parse(time);
  return el("span", { class: "age", "data-at": at }, grown(at));
}

const grown = (at) => duration(Math.max(0, now() - at));

/** Let ages grow. */
export function tellAges() {
  for (const each of document.querySelectorAll("[data-at]")) {
    const text = grown(Number(each.dataset.at));
    if (each.textContent !== text) each.textContent = text;
  }
}

/** Milliseconds in the unit that suits them. */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${Math.round(seconds)} s`;
}
