// Reasons of disconnects in words. AWS's name stands beside them, because runbooks and logs use it.

import { code, el } from "./text.js";

/** Values of `disconnectReason` (guide of AWS IoT Core, "Lifecycle events"), and presenced's own. */
const WORDS = {
  __proto__: null, // a reason may be named as a property of all objects
  AUTH_ERROR: "not authorized",
  CLIENT_INITIATED_DISCONNECT: "disconnected on its own",
  CLIENT_ERROR: "protocol or limit violated",
  CONNECTION_LOST: "connection lost",
  DUPLICATE_CLIENTID: "client ID taken over",
  FORBIDDEN_ACCESS: "forbidden by its policy",
  MQTT_KEEP_ALIVE_TIMEOUT: "keep-alive timed out",
  SERVER_ERROR: "error of the broker",
  SERVER_INITIATED_DISCONNECT: "disconnected by the broker",
  API_INITIATED_DISCONNECT: "disconnected by an API call",
  THROTTLED: "limit exceeded",
  WEBSOCKET_TTL_EXPIRATION: "WebSocket too old",
  CUSTOMAUTH_TTL_EXPIRATION: "custom authorization expired",
  STATUS_OFFLINE: "its status topic says so",
  other: "another reason",
};

/** The reasons that clients can be selected by, sorted by what they mean in words. */
export const REASONS = Object.entries(WORDS)
  .filter(([name]) => name !== "other")
  .sort(([, a], [, b]) => a.localeCompare(b))
  .map(([name]) => name);

/** A reason in words; AWS's name where there are none, "no reason given" where there is no name. */
export const inWords = (name) => WORDS[name] ?? (name || "no reason given");

/** A reason in words and as AWS calls it, as text. */
export const inBoth = (name) => (name in WORDS && name !== "other" ? `${WORDS[name]} · ${name}` : inWords(name));

/** A reason in words and as AWS calls it. */
export const reason = (name) =>
  name in WORDS && name !== "other"
    ? el("span", { class: "reason" }, WORDS[name], " ", el("span", { class: "quiet" }, "· ", code(name)))
    : el("span", { class: "reason" }, name in WORDS || !name ? inWords(name) : code(name));
