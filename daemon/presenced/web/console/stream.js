// Transitions as they happen.

import { at, refusal } from "./api.js";

const SOON = 1000, LONG_ENOUGH = 10000, LONGEST_WAIT = 30000, SILENCE = 40000;

/** The fields of server-sent events, block by block; `alive` is called whenever anything comes. */
async function* blocks(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield Object.fromEntries(part.split("\n").map(field));
  }
}

function field(line) {
  const colon = line.indexOf(":");
  return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
}

const seen = () =>
  new Promise((go) => document.addEventListener("visibilitychange", go, { once: true }));
const pause = (time) => new Promise((go) => setTimeout(go, time));

/**
 * Follows transitions for as long as the page is seen, and comes back for those that it missed.
 *
 * An EventSource would show neither why it was refused nor that nothing comes any more. `heard` has
 * the functions opened(), transition(told), lost(count) and down(error), which may be undefined.
 */
export class Stream {
  constructor(heard) {
    this.heard = heard;
    this.last = null;
  }

  async run() {
    let wait = SOON;
    for (;;) {
      // Whoever listens takes one of few places.
      while (document.hidden) await seen();
      const begun = Date.now();
      const error = await this.follow().catch((thrown) => thrown);
      if (document.hidden) continue;
      this.heard.down(error);
      wait = Date.now() - begun > LONG_ENOUGH ? SOON : Math.min(2 * wait, LONGEST_WAIT);
      await pause(Math.max(error?.wait ?? 0, wait));
    }
  }

  async follow() {
    const control = new AbortController();
    const leave = () => document.hidden && control.abort();
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => control.abort(), SILENCE);
    };
    document.addEventListener("visibilitychange", leave);
    try {
      alive();
      const headers = this.last === null ? {} : { "Last-Event-ID": this.last };
      const answer = await fetch(at("events"), { headers, signal: control.signal });
      if (!answer.ok) throw await refusal(answer);
      this.heard.opened();
      for await (const block of blocks(answer.body, alive)) this.take(block);
    } finally {
      clearTimeout(silence);
      document.removeEventListener("visibilitychange", leave);
    }
  }

  take(block) {
    if (block.id !== undefined) this.last = block.id;
    if (block.event === "transition") this.heard.transition(JSON.parse(block.data));
    if (block.event === "lost") this.heard.lost(JSON.parse(block.data).count);
  }
}
