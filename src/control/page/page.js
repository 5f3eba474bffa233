// The admin page: listens to the node and lets the other modules draw and act.

import { may, result, setSession } from "./access.js";
import { ask, listen } from "./api.js";
import { $, setAttribute, setText, show } from "./dom.js";
import * as drain from "./drain.js";
import { drawLifetimes } from "./herd.js";
import { History, spanOf } from "./history.js";
import { draw } from "./live.js";
import { thread } from "./plot.js";
import { number } from "./rates.js";
import * as queue from "./queue.js";
import * as user from "./user.js";
import { PHASES, count, rate, span } from "./words.js";

/** Rates of the queue's lanes are of this window. */
const SHORT_MS = 10_000;

let past = new History();
let stats = null;
let status = null;
let [asked, stop] = [false, null];
/** Where the pointer is over a plot over time, 0 to 1. */
let pointed = null;

const chosenMs = () => Number(document.querySelector('input[name="window"]:checked')?.value ?? SHORT_MS);

/** Draws at most once a frame, and not at all while nobody sees it. */
function drawSoon() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (stats) drawAll();
  });
}

function drawAll() {
  const now = past.rows.at(-1)?.at ?? 0;
  drawHead();
  draw(stats, past, now, chosenMs());
  drawLifetimes(stats.lifetimes, number(stats.connections?.total));
  queue.drawQueue(stats, past.rates(SHORT_MS));
  user.setLanes(queue.inOrder(Object.keys(stats.messages ?? {})));
  drain.drawDrain(status ?? stats.drain, number(stats.connections?.total));
  drawReading();
}

function drawHead() {
  setText($("node"), stats.node);
  setText($("region"), stats.region);
  const up = number(stats.uptime_s) > 0 ? `up ${span(stats.uptime_s)}` : "";
  setText($("version"), [stats.version && `version ${stats.version}`, up].filter(Boolean).join(", "));
  const [state, word, why] = stateOf();
  setAttribute($("state"), "data-state", state);
  setText($("state-word"), word);
  setText($("state-why"), why);
  show($("state-why"), why !== "");
  const title = `${stats.node}: ${word.toLowerCase()} · Holdfast`;
  if (document.title !== title) document.title = title;
}

function stateOf() {
  const phase = (status ?? stats.drain)?.phase ?? "serving";
  if (phase !== "serving") return ["warn", phase === "done" ? "Drained" : "Draining", `${PHASES[phase] ?? phase}: balancers are told to send nobody here.`];
  const { ready = true, reason = "ok" } = stats.ready ?? {};
  if (!ready) return ["bad", "Not ready", `Not ready: ${reason}.`];
  return reason === "ok" ? ["good", "Serving", ""] : ["warn", "Serving, with a fault", `Serving what it knows. ${reason}`];
}

/** What the plots say at the place of the pointer. */
function drawReading() {
  const last = past.rows.at(-1);
  for (const id of ["open-plot", "flow-plot"]) thread($(id), pointed);
  if (pointed === null || !last) return setText($("axis-reading"), "");
  const at = last.at - (1 - pointed) * spanOf(past.rows, last.at);
  const near = past.rows.findLast((row) => row.at <= at && row.connections !== null);
  const ago = `${span((last.at - at) / 1000)} ago`;
  setText($("axis-reading"), near
    ? `${ago}: ${count(near.connections)} open, in ${rate(near.opened)}/s, out ${rate(near.closed)}/s, refused ${rate(near.refused)}/s`
    : `${ago}: not seen by this page`);
}

for (const id of ["open-plot", "flow-plot"]) {
  $(id).addEventListener("pointermove", ({ offsetX }) => {
    pointed = Math.min(1, Math.max(0, offsetX / ($(id).clientWidth || 1)));
    drawReading();
  });
  $(id).addEventListener("pointerleave", () => {
    pointed = null;
    drawReading();
  });
}

function heard(kind, said) {
  if (kind === "drain") {
    status = said;
  } else {
    const before = stats;
    stats = said;
    if (status) status.remaining = said.drain?.remaining ?? status.remaining;
    if (past.add(performance.now(), said) && before) {
      const version = before.version === said.version ? "" : ` with version ${said.version} instead of ${before.version}`;
      setText($("notice"), `The node has started again${version}: its counts begin at zero.`);
    }
    show($("figures"), true);
  }
  drawSoon();
}

const FAULTS = { silent: "No word from the node", answers: "The node answers, but has no events for this page" };

function changed(live, waitMs, fault) {
  setAttribute($("stream"), "data-live", live ? "yes" : "no");
  setAttribute($("figures"), "data-stale", live ? "no" : "yes");
  const again = waitMs < 1500 ? "in a moment" : `in ${span(waitMs / 1000)}`;
  setText($("stream-word"), live ? "live" : `${FAULTS[fault]}: asking again ${again}`);
  if (!live) setAttribute($("state"), "data-state", "unknown");
}

/** What keeps the page from its events: `"away"` when nobody who may look is signed in, `"answers"` or `"silent"` of the node. */
async function turnedAway() {
  let session;
  try {
    ({ body: session } = await ask("GET", "v1/session"));
  } catch {
    return "silent";
  }
  setSession(session);
  const away = !may("read");
  const pushes = away && may("send");
  show($("signin"), away && !pushes);
  if (!away) {
    $("figures").removeAttribute("data-only");
    return "answers";
  }
  // Who may push but not look gets the form for that.
  if (pushes) setAttribute($("figures"), "data-only", "push");
  setAttribute($("figures"), "data-stale", "no");
  show($("figures"), pushes);
  user.setLanes([]);
  setText($("notice"), pushes ? "A token of role send may push, and not look." : "");
  setText($("stream-word"), pushes ? "" : "not signed in");
  stats = null;
  return "away";
}

async function begin() {
  if ((await turnedAway()) === "away") {
    $("token").focus();
    return;
  }
  queue.askLanes();
  stop = listen(heard, changed, turnedAway);
}

async function signIn(event) {
  event.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  try {
    await ask("POST", "v1/session", { token });
    result("signin-result", "");
    await begin();
    if (may("read")) $("main").focus();
  } catch (fault) {
    const words = fault.status === 401 ? "This token is not known here." : fault.message;
    result("signin-result", words, true);
    $("token").focus();
  }
}

async function signOut() {
  stop?.();
  await ask("DELETE", "v1/session").catch(() => {});
  location.reload();
}

user.setUp();
queue.setUp();
drain.setUp();
$("signin-form").addEventListener("submit", signIn);
$("sign-out").addEventListener("click", signOut);
for (const radio of document.querySelectorAll('input[name="window"]')) radio.addEventListener("change", drawSoon);
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawSoon);
document.addEventListener("visibilitychange", drawSoon);
begin();
