// Starts, shows and takes back a drain of this node.

import { confirm, guard, result } from "./access.js";
import { ask } from "./api.js";
import { $, keyed, make, setAttribute, setText, show } from "./dom.js";
import { gauge } from "./plot.js";
import { number } from "./rates.js";
import { PHASES, count, span } from "./words.js";

let connections = 0;

export function setUp() {
  guard("admin", $("drain-denied"), () => [$("drain-start"), $("drain-cancel")]);
  $("drain-start").addEventListener("click", start);
  $("drain-cancel").addEventListener("click", cancel);
}

/** Draws what GET /v1/drain says, with what is connected now. */
export function drawDrain(status, open) {
  connections = open;
  const phase = status?.phase ?? "serving";
  keyed($("drain-steps"), Object.entries(PHASES), ([key]) => key, ([, words]) => make("li", "", words), (item, [key]) => {
    if (key === phase) setAttribute(item, "aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  const drains = phase !== "serving";
  show($("drain-progress"), drains);
  show($("drain-start"), !drains);
  show($("drain-cancel"), drains && status.origin === "api");
  if (!drains) return;
  const began = number(status.connections);
  const remaining = number(status.remaining);
  const gone = began > 0 ? Math.max(0, 1 - remaining / began) : 1;
  gauge($("drain-gauge"), [{ share: gone, className: "first" }]);
  setAttribute($("drain-gauge"), "aria-label", `${Math.round(gone * 100)} % have left`);
  setText($("drain-remaining"), count(remaining));
  setText($("drain-words"), `of ${count(began)} remain.`);
  const left = (number(status.deadline_ms) - number(status.elapsed_ms)) / 1000;
  const who = status.origin === "signal" ? " Begun by a signal: it cannot be taken back, and the process ends with it." : "";
  const when = phase === "done"
    ? `Over after ${span(number(status.elapsed_ms) / 1000)}. The node stays, and refuses newcomers.`
    : `Begun ${span(number(status.elapsed_ms) / 1000)} ago; over in ${span(Math.max(0, left))} at the latest.`;
  setText($("drain-time"), when + who);
}

async function start() {
  const lines = [
    "At once: /readyz and /healthcheck turn 503, so that balancers send nobody here, and the node leaves the consumer group.",
    "After drain.delay: newcomers are refused, with a time to come back.",
    `Then its ${count(connections)} connections are asked to leave, evenly over drain.window, or over connections divided by drain.rate where that is longer. Each comes back as a handshake elsewhere: the other nodes must have room.`,
    "The process goes on, and the drain can be taken back; who has been asked leaves all the same.",
  ];
  if (!(await confirm("Drain this node?", lines, "Drain it"))) return;
  await tell("POST", "The drain has begun.");
}

async function cancel() {
  await tell("DELETE", "Taken back: the node serves again.");
}

async function tell(method, words) {
  try {
    const { body } = await ask(method, "v1/drain");
    drawDrain(body, connections);
    result("drain-result", words);
  } catch (fault) {
    result("drain-result", fault.message, true);
  }
}
