// The stream of transitions.

import { at, refusal } from "./api.js";

const FIRST_WAIT = 1000, STABLE_AFTER = 10000, MAX_WAIT = 30000, MAX_SILENCE = 40000; // milliseconds

/** Yield the fields of each server-sent event; `alive` is called whenever data is received. */
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

const visibilityChanged = () =>
  new Promise((go) => document.addEventListener("visibilitychange", go, { once: true }));
const pause = (time) => new Promise((go) => setTimeout(go, time));

/**
 * Follows transitions while the page is visible, and catches up on missed ones afterwards.
 *
 * An EventSource reports neither why it was refused nor that the stream went silent.
 * `handlers` has the functions opened(), transition(transition), lost(count) and down(error), whose
 * error may be undefined.
 */
export class Stream {
  constructor(handlers) {
    this.handlers = handlers;
    this.last = null;
  }

  async run() {
    let wait = FIRST_WAIT;
    for (;;) {
      // The number of streams is limited: a hidden page closes its stream.
      while (document.hidden) await visibilityChanged();
      const begun = Date.now();
      const error = await this.follow().catch((thrown) => thrown);
      if (document.hidden) continue;
      this.handlers.down(error);
      wait = Date.now() - begun > STABLE_AFTER ? FIRST_WAIT : Math.min(2 * wait, MAX_WAIT);
      await pause(Math.max(error?.wait ?? 0, wait));
    }
  }

  async follow() {
    const control = new AbortController();
    const leave = () => document.hidden && control.abort();
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => control.abort(), MAX_SILENCE);
    };
    document.addEventListener("visibilitychange", leave);
    try {
      alive();
      const headers = this.last === null ? {} : { "Last-Event-ID": this.last };
      const response = await fetch(at("events"), { headers, signal: control.signal });
      if (!response.ok) throw await refusal(response);
      this.handlers.opened();
      for await (const block of blocks(response.body, alive)) this.take(block);
    } finally {
      clearTimeout(silence);
      document.removeEventListener("visibilitychange", leave);
    }
  }

  take(block) {
    if (block.id !== undefined) this.last = block.id;
    if (block.event === "transition") this.handlers.transition(JSON.parse(block.data));
    if (block.event === "lost") this.handlers.lost(JSON.parse(block.data).count);
  }
}
