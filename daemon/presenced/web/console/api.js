// Asking the API beside this page.

const PATIENCE = 15000;

/** An answer other than 200; `wait` is how long to wait before asking again, milliseconds. */
export class Refusal extends Error {
  constructor(status, detail, wait = 0) {
    super(detail);
    this.status = status;
    this.wait = wait;
  }
}

/** What an answer refuses, in words. */
export async function refusal(answer) {
  const text = await answer.text();
  const isProblem = answer.headers.get("Content-Type")?.startsWith("application/problem+json");
  const detail = isProblem ? JSON.parse(text).detail : `${answer.status} ${text.slice(0, 200)}`;
  return new Refusal(answer.status, detail, 1000 * (answer.headers.get("Retry-After") ?? 0));
}

/** The address of a path of the API. `fetch` refuses one that has a password, as this page's may. */
export const at = (path) => new URL(`api/v1/${path}`, location.origin + location.pathname);

/** The document at a path of the API; throws Refusal, or what `fetch` throws. */
export async function ask(path) {
  const answer = await fetch(at(path), { signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}
