// Asks the node. Its cookie says who asks: the page holds no token.

/** A refusal, or no answer: `status` is 0 when there was none. */
export class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const NO_ANSWER = "the node does not answer";

/** Asks; gives `{status, body}`. `fine` are statuses beside 2xx that are no fault. */
export async function ask(method, path, { body, type, token, fine = [] } = {}) {
  const headers = {};
  if (type) headers["Content-Type"] = type;
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, cache: "no-store", credentials: "same-origin", redirect: "error" });
  } catch {
    throw new Fault(0, NO_ANSWER);
  }
  const text = await answer.text().catch(() => "");
  let said = null;
  try {
    said = JSON.parse(text);
  } catch {
    // Not every answer has a body.
  }
  if (answer.ok || fine.includes(answer.status)) return { status: answer.status, body: said };
  throw new Fault(answer.status, typeof said?.message === "string" ? said.message : `the node answered ${answer.status}`);
}

/** A name as a part of a path. `.` and `..` would be taken for steps, and cannot be written in another way. */
export function part(name) {
  return encodeURIComponent(name);
}

const WAIT_MS = [500, 15_000];

/**
 * Listens to GET /v1/events. `heard(kind, object)` gets each event; `changed(live, waitMs, fault)` the state of the stream; `turnedAway()`
 * is asked, after a loss, what is wrong: `"away"` ends it, `"silent"` and `"answers"` are handed to `changed`. It comes back by itself after a random time whose bound doubles with each failure.
 */
export function listen(heard, changed, turnedAway) {
  let [source, timer, failures, stopped] = [null, 0, 0, false];
  const open = () => {
    source = new EventSource("v1/events");
    for (const kind of ["stats", "drain"]) {
      source.addEventListener(kind, ({ data }) => {
        failures = 0;
        changed(true, 0);
        try {
          heard(kind, JSON.parse(data));
        } catch (fault) {
          console.error(fault);
        }
      });
    }
    source.addEventListener("error", lost);
  };
  const lost = async () => {
    source?.close();
    source = null;
    const bound = Math.min(WAIT_MS[1], WAIT_MS[0] * 2 ** failures++);
    const wait = bound / 2 + (Math.random() * bound) / 2;
    changed(false, wait, "silent");
    const fault = await turnedAway();
    if (stopped || fault === "away") return;
    changed(false, wait, fault);
    timer = setTimeout(open, wait);
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
  };
}
