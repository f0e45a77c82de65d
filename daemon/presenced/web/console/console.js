// The console: shows the view that the URL names, and keeps it up to date through the API.

import { ask, Refusal } from "./api.js";
import { clientOf, showClient, showName } from "./client.js";
import { hidePage, isHidden, pageOf, showNumbers, showPage, showPartitions, Strip } from "./fleet.js";
import { Stream } from "./stream.js";
import {
  $, address, clock, count, dated, el, fill, now, plural, sentence, setClock, updateAges, visible,
} from "./text.js";

const SOON = 1000, REGULARLY = 10000, TYPING = 200, STRIP_EVERY = 250, AGES_EVERY = 1000;
const FIELDS = ["prefix", "state", "sort"];

/** The view that the URL names: a client by `id`, or else the clients selected by `query`. */
function viewOfUrl() {
  const [path, query] = location.hash.slice(1).split("?");
  const id = path.match(/^\/clients\/(.+)$/s)?.[1];
  return { id: id && decoded(id), query: new URLSearchParams(id ? "" : query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it was typed by hand
  }
}

const texts = new Map();

/** Show the notice of a kind; an empty text removes it. */
function notice(kind, text) {
  texts.set(kind, text.split("\n").map((line) => visible(line)).join("\n"));
  const shown = [...texts.values()].filter(Boolean);
  fill($("notices"), ...shown.map((each) => el("p", { class: "notice" }, each)));
}

/** Shows whether the page is up to date, by the results of requests and of the stream. */
class Link {
  constructor() {
    this.downSince = null;
    this.streaming = false;
    this.refusal = null;
    this.hasAsked = false;
    this.summary = undefined;
  }

  /** Requests were answered, or failed to reach the daemon; `summary` is undefined if refused. */
  answered(isUp, summary) {
    this.downSince = isUp ? null : this.downSince ?? now();
    this.hasAsked = true;
    this.summary = summary;
    this.show();
  }

  /** The stream was opened, or ended by an error. */
  stream(isOpen, error = null) {
    this.streaming = isOpen;
    this.refusal = error instanceof Refusal ? error.message : null;
    this.show();
  }

  /** The state in words, and the client state that has the same mark. */
  state() {
    if (this.downSince !== null) return ["offline", `Connection lost at ${clock(this.downSince)}`];
    if (!this.hasAsked) return ["unknown", "Connecting"];
    if (!this.streaming || !this.summary) return ["pending", "Not live"];
    if (this.summary.ready) return ["online", "Live"];
    return isCatchingUp(this.summary) ? ["pending", "Catching up"] : ["offline", "Not ready"];
  }

  show() {
    const [state, text] = this.state();
    fill($("link-text"), text);
    $("link").firstElementChild.dataset.state = state;
    const lost = this.downSince !== null;
    document.body.classList.toggle("stale", lost);
    const down = lost &&
      `The connection to presenced is lost. This page shows the state of ${clock(this.downSince)}; reconnecting.`;
    const refused = `Transitions cannot be followed: ${this.refusal}. Everything else is still updated.`;
    // If all requests are refused, the notice of these says why.
    const isTold = this.refusal === null || isHidden(this.summary?.partitions ?? null);
    notice("link", lost ? down : isTold ? "" : refused);
  }
}

/** Requests what the view shows, at intervals and when something happens. */
class Page {
  constructor(link) {
    this.link = link;
    this.generation = 0;
    this.busy = this.again = false;
    this.due = Infinity;
    this.notBefore = 0;
    this.view = null;
  }

  /** The URL has changed. */
  go() {
    const before = this.view;
    this.view = viewOfUrl();
    const { id, query } = this.view;
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
    if (before) moveFocus(before, this.view);
    this.refresh();
  }

  /** Refresh soon, because something has happened. */
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
    const generation = ++this.generation;
    const { id, query } = this.view;
    const content = id === undefined ? pageOf(query) : clientOf(id);
    const [summary, shown] = await Promise.allSettled([ask("summary"), content]);
    if (generation !== this.generation) return; // the view has changed meanwhile
    this.busy = false;
    const errors = [shown, summary].map((each) => each.reason).filter(Boolean);
    this.notBefore = Date.now() + Math.max(0, ...errors.map((error) => error.wait ?? 0));
    this.refreshIn(this.again ? SOON : REGULARLY);
    this.link.answered(errors.every((error) => error instanceof Refusal), summary.value);
    const refused = errors.find((error) => error instanceof Refusal);
    notice("refused", refused ? explain(refused) : "");
    if (summary.value) showSummary(summary.value);
    if (shown.reason?.status === 404) showName(id);
    if (summary.value && isHidden(summary.value.partitions)) id === undefined ? hidePage() : showName(id);
    else if (shown.value) id === undefined ? showPage(shown.value, query) : showClient(shown.value);
  }
}

const explain = ({ status, message }) =>
  status === 404 ? sentence(message) : sentence(`No answer: ${message}`);

function showSummary(summary) {
  setClock(summary.time);
  fill($("version"), summary.version);
  showNumbers(summary);
  showPartitions(summary.partitions);
  notice("unready", summary.ready ? "" : unready(summary));
  // If ready, the lines after the first are warnings.
  const warnings = summary.ready ? summary.readiness.split("\n").slice(1) : [];
  notice("warnings", warnings.map(problem).join("\n"));
  notice("doubt", doubt(summary));
}

/** How many clients are in doubt, since when, and what ends that; empty if none is. */
function doubt({ in_doubt: { clients, since }, aws }) {
  const states = Object.entries(clients).filter(([, number]) => number);
  // Only AWS verifies a client that stays offline: without it the numbers of the fleet tell of these.
  if (!states.length || (aws === null && !clients.online && !clients.pending)) return "";
  const total = states.reduce((sum, [, number]) => sum + number, 0);
  const byState = states.map(([state, number]) => `${count(number)} ${state}`).join(", ");
  if (aws === null) {
    const gap = since === null ? "" : ` since the gap at ${dated(since)}, in which events may have been lost`;
    return `The state of ${plural(total, "client")} (${byState}) is in doubt${gap}. The next event of each verifies it.`;
  }
  const gap = since === null ? "" : `events may have been lost in the gap at ${dated(since)}, or `;
  const end = `The next snapshot of AWS's record verifies them${lastOf(aws.last_snapshot)}.`;
  return `The state of ${plural(total, "client")} (${byState}) is in doubt: ${gap}AWS has not confirmed it yet. ${end}`;
}

const lastOf = (snapshot) =>
  snapshot === null ? "; none has been completed since the start" : `; the last one was at ${dated(snapshot.at)}`;

const isCatchingUp = ({ readiness }) => readiness.startsWith("catching up");

function unready(summary) {
  if (isCatchingUp(summary)) return `${sentence(summary.readiness)} Until then no client goes offline.`;
  const problems = summary.readiness.split("\n").map(problem);
  return ["Not ready. This page shows the last known state.", ...problems].join("\n");
}

/** A line of the readiness as a sentence; one that begins with a client ID is of a connection. */
const problem = (line) => sentence(line.replace(/^[^\s:]+: /, "Connection $&"));

/** Move the keyboard focus to what has changed. */
function moveFocus(before, view) {
  if (view.id !== undefined && before.id !== view.id) {
    scrollTo(0, 0);
    $("device-title").focus();
  } else if (before.id !== view.id) {
    const links = [...$("clients").querySelectorAll("a")];
    const from = links.find((each) => each.getAttribute("href") === address(before.id));
    (from ?? $("fleet-title")).focus();
  } else if (view.id === undefined && before.query.get("cursor") !== view.query.get("cursor")) {
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
  setInterval(updateAges, AGES_EVERY);
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
    transition(transition) {
      strip.add(transition);
      page.soon();
    },
    lost(count) {
      strip.lost(count);
      page.soon();
    },
  }).run();
}

begin();
