// Requests to the API.

const TIMEOUT = 15000, LONGEST_WAIT = 300000; // milliseconds

/** A response other than 200; `wait` is how long to wait before the next request, in milliseconds. */
export class Refusal extends Error {
  constructor(status, detail, wait = 0) {
    super(detail);
    this.status = status;
    this.wait = wait;
  }
}

/** Return the Refusal of a response. */
export async function refusal(response) {
  const text = await response.text();
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  const start = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  const detail = isProblem ? JSON.parse(text).detail : `${response.status} ${start}`;
  return new Refusal(response.status, detail, waitOf(response.headers.get("Retry-After")));
}

/**
 * Return how long to wait, in milliseconds: a proxy may answer with a date (RFC 9110, 10.2.3).
 *
 * A timer that is given no number, or one beyond its range, does not wait at all.
 */
function waitOf(retryAfter) {
  const isSeconds = /^\d+$/.test(retryAfter ?? "");
  const wait = isSeconds ? 1000 * retryAfter : Date.parse(retryAfter) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_WAIT);
}

/** The URL of a path of the API. It lacks the page's user and password, which `fetch` refuses. */
export const at = (path) => new URL(`api/v1/${path}`, location.origin + location.pathname);

/** Return the answer at a path of the API; throws Refusal, or what `fetch` throws. */
export async function ask(path) {
  const response = await fetch(at(path), { signal: AbortSignal.timeout(TIMEOUT) });
  if (!response.ok) throw await refusal(response);
  return response.json();
}
