// What a screen reader says of changes: seldom, and together, however much happens.

import { $, plural } from "./text.js";

const PAUSE = 10000; // milliseconds

/** Announces changes at most every ten seconds. */
export class Announcer {
  constructor() {
    this.counts = { online: 0, offline: 0 };
    this.state = "";
    this.timer = null;
  }

  /** A client went online or offline. */
  transition(state) {
    this.counts[state] += 1;
    this.soon();
  }

  /** The state of the daemon, in words; only a change is announced. */
  daemon(words) {
    const isFirst = this.state === "";
    if (words === this.state) return;
    this.state = words;
    this.changed = !isFirst;
    if (!isFirst) this.soon();
  }

  soon() {
    this.timer ??= setTimeout(() => this.say(), PAUSE);
  }

  say() {
    this.timer = null;
    const { online, offline } = this.counts;
    $("announcer").textContent = [
      this.changed ? `${this.state}.` : "",
      offline ? `${plural(offline, "client")} went offline.` : "",
      online ? `${plural(online, "client")} went online.` : "",
    ].filter(Boolean).join(" ");
    this.counts = { online: 0, offline: 0 };
    this.changed = false;
  }
}
