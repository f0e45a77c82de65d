// The console: shows the view that the URL names, and keeps it up to date through the API.

import { Announcer } from "./announcer.js";
import { ask, Refusal } from "./api.js";
import { clientOf, showClient, showName } from "./client.js";
import { ClientList, focusClient } from "./clients.js";
import { certificateWarning, showCertificates, showDaemon } from "./daemon.js";
import { isFiltered } from "./filters.js";
import { flappingOf, showFlapping } from "./flapping.js";
import { Link, notice } from "./link.js";
import { headline, Overview } from "./overview.js";
import { isHidden, showPartitions } from "./partitions.js";
import { RecentList, recentOf, showKind, showRecent } from "./recent.js";
import { oldOf, showState, stateWords } from "./state.js";
import { Stream } from "./stream.js";
import { $, sentence, setClock, updateAges } from "./text.js";
import { viewOfUrl } from "./views.js";

const SOON = 2000, REGULARLY = 10000, LIVE_EVERY = 250, AGES_EVERY = 1000; // milliseconds
const LATEST = 12, HISTORY = 100; // entries

/** Requests what the view shows, at intervals and when something happens. */
class Page {
  constructor() {
    this.link = new Link();
    this.announcer = new Announcer();
    this.overview = new Overview();
    this.recent = new RecentList($("recent"), LATEST);
    this.clients = new ClientList((query) => {
      history.replaceState(null, "", `#/?${query}`);
      this.go({ isLinked: false });
    });
    this.generation = 0;
    this.busy = this.again = false;
    this.due = Infinity;
    this.notBefore = 0;
    this.view = null;
    this.shown = null; // the content that the view has, and the overview that came with it
  }

  /** The URL has changed: by a link, or by what is typed or chosen in a filter. */
  go({ isLinked }) {
    const before = this.view;
    const view = (this.view = viewOfUrl());
    this.shown = null;
    for (const each of document.querySelectorAll(".view")) each.hidden = each.id !== view.name;
    for (const each of document.querySelectorAll("#views a")) {
      const isThis = each.hash === view.place;
      isThis ? each.setAttribute("aria-current", "page") : each.removeAttribute("aria-current");
    }
    document.title = `${view.title} · presenced`;
    if (view.name === "history") showKind(view);
    if (view.name === "client" && view.id !== before?.id) showName(view.id);
    const back = this.listQuery ?? "";
    if (view.name === "fleet") {
      this.listQuery = `${view.query}`;
      $("back").href = `#/?${view.query}`;
    }
    notice("refused", "");
    if (before && isLinked) moveFocus(before, view, back);
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
    const isLatest = () => generation === this.generation; // the view has not changed meanwhile
    const [summary, overview] = await Promise.allSettled([ask("summary"), ask("overview")]);
    if (!isLatest()) return;
    const [content] = await Promise.allSettled([this.contentOf(overview.value)]);
    if (!isLatest()) return;
    this.busy = false;
    const errors = [content, summary, overview].map((each) => each.reason).filter(Boolean);
    this.notBefore = Date.now() + Math.max(0, ...errors.map((error) => error.wait ?? 0));
    this.refreshIn(this.again ? SOON : REGULARLY);
    this.link.answered(errors.every((error) => error instanceof Refusal), summary.value);
    const refused = errors.find((error) => error instanceof Refusal);
    notice("refused", refused ? explain(refused) : "");
    this.show(summary.value, overview.value, content);
  }

  /** Request what only this view shows. */
  contentOf(overview) {
    const { name, id, query } = this.view;
    switch (name) {
      case "client":
        return clientOf(id);
      case "history":
        return recentOf(HISTORY, this.view);
      case "flapping":
        return flappingOf();
      case "fleet":
        this.clients.select(query, overview?.fleet.clients.offline ?? 0);
        return Promise.all([this.clients.ask(), this.recent.ask()]);
      default:
        return null;
    }
  }

  show(summary, overview, content) {
    const { name, id } = this.view;
    if (summary) {
      setClock(summary.time);
      showPartitions(summary.partitions);
      showDaemon(summary, overview);
    }
    const hides = summary !== undefined && isHidden(summary.partitions);
    $("state").hidden = !summary || !overview;
    $("overview").hidden = hides || !overview;
    if (summary && overview) {
      showState(overview, summary);
      document.body.classList.toggle("old", oldOf(overview) !== null);
      this.announcer.daemon(stateWords(overview));
      this.overview.show(overview);
      showCertificates(overview);
      notice("certificate", certificateWarning(overview));
      if (name === "fleet") document.title = `${headline(overview)} · presenced`;
    }
    if (content.reason?.status === 404 && id !== undefined) showName(id);
    if (content.value) this.shown = { value: content.value, overview };
    else if (content.reason instanceof Refusal) this.shown = null;
    if (hides) this.hide();
    else if (content.value) this.showContent(content.value);
    else if (name === "client" && this.shown) this.showContent(this.shown.value); // it has become old
  }

  /** As of when the view shows what it does, and why, unless it is live. */
  old() {
    const old = this.shown.overview ? oldOf(this.shown.overview) : null;
    if (old !== null) return old;
    return this.link.oldAt === null ? null : { at: this.link.oldAt, why: ["this page is not live"] };
  }

  showContent(value) {
    switch (this.view.name) {
      case "client":
        return showClient(value, this.shown.overview, this.old());
      case "history":
        return showRecent(value, this.view);
      case "flapping":
        return showFlapping(value);
      default:
        this.clients.show(value[0]);
        this.recent.show(value[1]);
    }
  }

  /** Show no client, because another worker may have it. */
  hide() {
    if (this.view.name === "client") showName(this.view.id);
    this.clients.hide();
    this.recent.hide();
    for (const each of ["all-recent", "flapping-lead"]) $(each).replaceChildren();
    $("flapping-table").hidden = true;
  }
}

const explain = ({ status, message }) =>
  status === 404 ? sentence(message) : sentence(`No answer: ${message}`);

/** Show the list of clients, which may be below what the window shows. */
function goToList() {
  $("list-title").scrollIntoView();
  $("list-title").focus({ preventScroll: true });
}

/** Move the keyboard focus, and what the window shows, to what has changed; `back` is the query of the last list. */
function moveFocus(before, view, back) {
  const isSame = before.name === view.name && before.id === view.id;
  const isBack = before.name === "client" && view.name === "fleet" && `${view.query}` === back;
  if (isBack) {
    focusClient(before.id, $("fleet-title"));
  } else if (view.name === "fleet" && (isFiltered(view.query) || (isSame && view.query.has("cursor")))) {
    goToList();
  } else if (isSame && view.name === "fleet") {
    $("list-title").focus({ preventScroll: true });
  } else if (!isSame) {
    scrollTo(0, 0);
    $(view.heading).focus();
  } else if (view.name === "history" && (before.before !== view.before || before.kind !== view.kind)) {
    $("history-title").focus();
  }
}

function begin() {
  const page = new Page();
  addEventListener("hashchange", () => /^(#\/|$)/.test(location.hash) && page.go({ isLinked: true }));
  // A link to the list as it is changes no URL, but must not seem to do nothing.
  document.querySelector("main").addEventListener("click", ({ target }) => {
    if (page.view.name === "fleet" && target.closest("a")?.hash === location.hash) goToList();
  });
  document.addEventListener("visibilitychange", () => page.soon());
  setInterval(() => page.recent.draw(), LIVE_EVERY);
  setInterval(updateAges, AGES_EVERY);
  page.go({ isLinked: false });
  new Stream({
    opened() {
      page.link.stream(true);
      page.soon();
    },
    down(error) {
      page.link.stream(false, error);
      page.soon();
    },
    transition(transition) {
      page.recent.add(transition);
      page.announcer.transition(transition.state);
      page.soon();
    },
    lost() {
      page.soon(); // the daemon's list of what happened has them
    },
  }).run();
}

begin();
