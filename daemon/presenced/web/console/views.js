// The views of the console, by the part of the URL after the `#`.

import { visible } from "./text.js";

const PAGES = {
  __proto__: null,
  "/recent": { name: "history", heading: "history-title", title: "What happened" },
  "/flapping": { name: "flapping", heading: "flapping-title", title: "Flapping clients" },
  "/daemon": { name: "daemon", heading: "daemon-title", title: "Daemon" },
};
const KINDS = ["mass", "transition"];
const FLEET = { name: "fleet", heading: "fleet-title", title: "Fleet" };

/**
 * The view that the URL names.
 *
 * `place` is where the navigation has it. The fleet has the `query` of its list, a client its `id`,
 * and what happened recently the number `before` which it ends, and the `kind` of its entries, or
 * null.
 */
export function viewOfUrl() {
  const [path, text] = location.hash.slice(1).split("?");
  const id = path.match(/^\/clients\/(.+)$/s)?.[1];
  if (id) {
    const client = decoded(id);
    return { name: "client", heading: "device-title", title: visible(client, 80), id: client };
  }
  const query = new URLSearchParams(text);
  const page = PAGES[path];
  if (page) return { ...page, place: `#${path}`, before: query.get("before"), kind: kindOf(query) };
  return { ...FLEET, place: "#/", query };
}

/** The kind of entries of the query; null for all, and for what somebody typed by hand. */
const kindOf = (query) => KINDS.find((each) => each === query.get("kind")) ?? null;

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it was typed by hand
  }
}
