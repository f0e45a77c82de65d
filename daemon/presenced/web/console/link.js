// Whether this page is up to date, and notices of what keeps it from being so.

import { Refusal } from "./api.js";
import { isHidden } from "./partitions.js";
import { $, clock, el, fill, now, visible } from "./text.js";

const texts = new Map();

/** Show the notice of a kind; an empty text removes it. */
export function notice(kind, text) {
  texts.set(kind, visible(text));
  const shown = [...texts.values()].filter(Boolean);
  fill($("notices"), ...shown.map((each) => el("p", { class: "notice" }, each)));
}

/** Shows whether the page is up to date, by the results of requests and of the stream. */
export class Link {
  constructor() {
    this.downSince = null;
    this.streaming = false;
    this.refusal = null;
    this.hasAsked = false;
    this.summary = undefined;
    this.answeredAt = null;
    this.isBroken = false; // whether a stream has ended, and none was opened since
  }

  /** When what the page shows was true, if it may be so no more: in milliseconds, else null. */
  get oldAt() {
    return this.downSince !== null || this.isBroken ? this.answeredAt : null;
  }

  /** Requests were answered, or failed to reach the daemon; `summary` is undefined if refused. */
  answered(isUp, summary) {
    this.downSince = isUp ? null : this.downSince ?? now();
    this.hasAsked = true;
    this.summary = summary;
    if (summary) this.answeredAt = Date.parse(summary.time);
    this.show();
  }

  /** The stream was opened, or ended by an error. */
  stream(isOpen, error = null) {
    this.streaming = isOpen;
    this.isBroken = !isOpen;
    this.refusal = error instanceof Refusal ? error.message : null;
    this.show();
  }

  /** The state in words, and the client state that has the same mark. */
  state() {
    if (this.downSince !== null) return ["offline", `Connection lost at ${clock(this.downSince)}`];
    if (!this.hasAsked) return ["unknown", "Connecting"];
    if (!this.streaming || !this.summary) return ["pending", "Not live"];
    if (this.summary.ready) return ["online", "Live"];
    return this.summary.readiness.startsWith("catching up") ? ["pending", "Catching up"] : ["offline", "Not ready"];
  }

  show() {
    const [state, text] = this.state();
    fill($("link-text"), text);
    $("link").firstElementChild.dataset.state = state;
    const lost = this.downSince !== null;
    document.body.classList.toggle("stale", lost);
    const down = lost &&
      `The connection to presenced is lost. This page shows the state of ${clock(this.downSince)}; reconnecting.`;
    const refused = `This page is not live: ${this.refusal}. It is updated every ten seconds.`;
    // If all requests are refused, the notice of these says why.
    const isTold = this.refusal === null || isHidden(this.summary?.partitions ?? null);
    notice("link", lost ? down : isTold ? "" : refused);
  }
}
