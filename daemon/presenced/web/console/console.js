// The console: what the address asks for, as the API beside this page tells it, kept up to date.

import { ask, Refusal } from "./api.js";
import { clientOf, showClient, showName } from "./client.js";
import { pageOf, showNumbers, showPage, Strip } from "./fleet.js";
import { Stream } from "./stream.js";
import { $, address, clock, el, fill, now, plural, setClock, tellAges, visible } from "./text.js";

const SOON = 1000, REGULARLY = 10000, TYPING = 200, STRIP_EVERY = 250, AGES_EVERY = 1000;
const FIELDS = ["prefix", "state", "sort"];

/** What the address asks for: a client by `id`, or else a choice of the fleet by `query`. */
function place() {
  const [path, query] = location.hash.slice(1).split("?");
  const id = path.match(/^\/clients\/(.+)$/s)?.[1];
  return { id: id && decoded(id), query: new URLSearchParams(id ? "" : query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody wrote it by hand
  }
}

const texts = new Map();

/** Show a notice of its kind; an empty text takes it away. */
function notice(kind, text) {
  texts.set(kind, text.split("\n").map((line) => visible(line)).join("\n"));
  const shown = [...texts.values()].filter(Boolean);
  fill($("notices"), ...shown.map((each) => el("p", { class: "notice" }, each)));
}

/** Says whether the page is up to date, by what became of questions and of the stream. */
class Link {
  constructor() {
    this.downSince = null;
    this.streaming = false;
    this.refusal = null;
  }

  /** Questions were answered, or nobody is there to answer. */
  answered(is) {
    this.downSince = is ? null : this.downSince ?? now();
    this.show();
  }

  /** The stream was opened, or ended by an error. */
  stream(is, error = null) {
    this.streaming = is;
    this.refusal = error instanceof Refusal ? error.message : null;
    this.show();
  }

  show() {
    const lost = this.downSince !== null;
    const state = lost ? "offline" : this.streaming ? "online" : "pending";
    const since = lost && clock(this.downSince);
    const text = { online: "Live", pending: "Not live", offline: `Connection lost at ${since}` };
    fill($("link-text"), text[state]);
    $("link").firstElementChild.dataset.state = state;
    document.body.classList.toggle("stale", lost);
    const down = `The connection to presenced is lost. What is shown is as of ${since}; trying again.`;
    const refused = `Transitions cannot be followed: ${this.refusal}. The rest is renewed meanwhile.`;
    notice("link", lost ? down : this.refusal === null ? "" : refused);
  }
}

/** Asks for what the address names, again and again. */
class Page {
  constructor(link) {
    this.link = link;
    this.turn = 0;
    this.busy = this.again = false;
    this.due = Infinity;
    this.notBefore = 0;
    this.at = null;
  }

  /** The address is another one. */
  go() {
    const before = this.at;
    this.at = place();
    const { id, query } = this.at;
    const isClient = id !== undefined;
    $("fleet").hidden = isClient;
    $("device").hidden = !isClient;
    document.title = `${isClient ? visible(id, 80) : "Fleet"} · presenced`;
    if (isClient && id !== before?.id) showName(id);
    if (!isClient) {
      $("back").href = `#/?${query}`;
      showFields(query);
    }
    notice("refused", "");
    if (before) focusOn(before, this.at);
    this.refresh();
  }

  /** Something has happened. */
  soon() {
    if (this.busy) this.again = true;
    else this.refreshIn(SOON);
  }

  refreshIn(wait) {
    const due = Math.max(Date.now() + wait, this.notBefore);
    if (document.hidden || due >= this.due) return;
    this.due = due;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), due - Date.now());
  }

  async refresh() {
    clearTimeout(this.timer);
    this.due = Infinity;
    this.busy = true;
    this.again = false;
    const turn = ++this.turn;
    const { id, query } = this.at;
    const view = id === undefined ? pageOf(query) : clientOf(id);
    const [summary, shown] = await Promise.allSettled([ask("summary"), view]);
    if (turn !== this.turn) return; // somebody went elsewhere meanwhile
    this.busy = false;
    const errors = [shown, summary].map((each) => each.reason).filter(Boolean);
    this.notBefore = Date.now() + Math.max(0, ...errors.map((error) => error.wait ?? 0));
    this.refreshIn(this.again ? SOON : REGULARLY);
    this.link.answered(errors.every((error) => error instanceof Refusal));
    const refused = errors.find((error) => error instanceof Refusal);
    notice("refused", refused ? `No answer: ${refused.message}.` : "");
    if (summary.value) showSummary(summary.value);
    if (shown.reason?.status === 404) showName(id);
    if (shown.value) id === undefined ? showPage(shown.value, query) : showClient(shown.value);
  }
}

function showSummary(told) {
  setClock(told.time);
  fill($("version"), told.version);
  showNumbers(told);
  const catchingUp = told.readiness.startsWith("catching up");
  notice("unready", told.ready ? "" : catchingUp
    ? `presenced is ${told.readiness}. Until that has come, nobody goes offline.`
    : `presenced is not ready: ${told.readiness}\nWhat is shown is the last that is known.`);
  notice("gap", told.unverified
    ? `Events may have been lost in a gap: of ${plural(told.unverified, "client")} the last known` +
      " state is shown, as unverified, until something is heard."
    : "");
}

/** Let the keyboard go where the eyes go. */
function focusOn(before, at) {
  if (at.id !== undefined && before.id !== at.id) {
    scrollTo(0, 0);
    $("device-title").focus();
  } else if (before.id !== at.id) {
    const links = [...$("clients").querySelectorAll("a")];
    const from = links.find((each) => each.getAttribute("href") === address(before.id));
    (from ?? $("fleet-title")).focus();
  } else if (at.id === undefined && before.query.get("cursor") !== at.query.get("cursor")) {
    $("list-title").focus();
  }
}

function showFields(query) {
  for (const id of FIELDS) {
    const value = query.get(id) ?? "";
    if ($(id).value !== value) $(id).value = value;
  }
}

function follow(page) {
  const query = new URLSearchParams();
  for (const id of FIELDS) if ($(id).value) query.set(id, $(id).value);
  history.replaceState(null, "", `#/?${query}`);
  page.go();
}

function begin() {
  const link = new Link();
  const page = new Page(link);
  const strip = new Strip();
  let typing;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => follow(page), TYPING);
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    follow(page);
  });
  addEventListener("hashchange", () => /^(#\/|$)/.test(location.hash) && page.go());
  document.addEventListener("visibilitychange", () => page.soon());
  setInterval(() => strip.show(), STRIP_EVERY);
  setInterval(tellAges, AGES_EVERY);
  page.go();
  new Stream({
    opened() {
      link.stream(true);
      page.soon();
    },
    down(error) {
      link.stream(false, error);
      page.soon();
    },
    transition(told) {
      strip.transition(told);
      page.soon();
    },
    lost(count) {
      strip.lost(count);
      page.soon();
    },
  }).run();
}

begin();
