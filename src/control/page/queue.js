// The queue's lanes: how far behind each is, and their brakes.

import { confirm, guard, result } from "./access.js";
import { ask, part } from "./api.js";
import { $, keyed, make, name, row, setAttribute, setText, show } from "./dom.js";
import { entries, number, sum } from "./rates.js";
import { count, rate, several } from "./words.js";

const BEFORE = [["0", "all that there is now"], ["1m", "older than 1 minute"], ["10m", "older than 10 minutes"], ["1h", "older than 1 hour"], ["1d", "older than 1 day"]];

/** What the cells of a lane are called where there is no head above them. */
const NAMES = ["", "yet to read ", "by the second ", "parked ", ""];

let denied = () => {};
/** What GET /v1/lanes says, the highest lane first: their order, and what is left out of them. */
let told = [];

/** Asks for the lanes. Without an answer they are in the order of their names. */
export async function askLanes() {
  const { body } = await ask("GET", "v1/lanes").catch(() => ({ body: null }));
  if (Array.isArray(body?.lanes)) told = body.lanes;
}

/** Names of lanes, the highest first. */
export function inOrder(names) {
  const place = (lane) => told.findIndex((known) => known.lane === lane);
  return names.toSorted((one, other) => place(one) - place(other));
}

export function setUp() {
  denied = guard("admin", $("lanes-denied"), () => $("lanes").querySelectorAll("button"));
}

/** Lanes in their order, from the queue's state and its rates. */
export function drawQueue(stats, rates) {
  const kafka = stats.kafka ?? {};
  const none = !kafka.read_here;
  setText($("queue-words"), words(kafka, none));
  const lanes = inOrder(Object.keys(kafka.lanes ?? {})).map((lane) => [lane, kafka.lanes[lane] ?? {}]);
  // In a fleet, a node without a queue brakes those of others.
  show($("lanes-part"), lanes.length > 0 && (!none || stats.registry?.shared === true));
  const before = $("lanes").childElementCount;
  keyed($("lanes"), lanes, ([lane]) => lane, ([lane]) => makeLane(lane), (line, [lane, state]) => {
    const cells = line.children;
    setText(cells[1].firstChild, state.paused ? "Paused" : "Reading");
    const skips = number(told.find((known) => known.lane === lane)?.skip_before_ms);
    setText(cells[1].lastChild, skips > 0 ? `without what is from before ${new Date(skips).toISOString().slice(0, 19).replace("T", " ")} UTC` : "");
    setAttribute(cells[1], "data-look", state.paused ? "yes" : "no");
    setText(cells[2], count(state.lag));
    setText(cells[3], rate(rates?.records[lane]));
    setText(cells[4], count(state.parked));
    const [toggle] = cells[5].firstChild.children;
    toggle.paused = state.paused === true;
    setText(toggle, state.paused ? "Resume" : "Pause …");
    setAttribute(toggle, "aria-label", `${state.paused ? "Resume" : "Pause"} lane ${lane}`);
  });
  if (before !== $("lanes").childElementCount) denied();
  const rejected = sum(kafka.rejected);
  setText($("queue-counts"), none ? "" : `Since the start: ${count(rejected)} unreadable, ${count(kafka.skipped)} skipped, ${several(kafka.retries, "retry", "retries")}.`);
}

function words(kafka, none) {
  if (none) return "This node reads no queue (kafka.brokers is “none”, or kafka.process is off). Messages come by HTTP only.";
  const where = kafka.embedded ? `The broker inside this process, at ${kafka.embedded}: in memory, for trying out.` : "An outside Kafka.";
  const up = kafka.up ? "It answers" : "It does not answer";
  return `${where} ${up}; this node holds ${several(kafka.partitions, "partition")}. A pause or a skip holds for the whole fleet.`;
}

function makeLane(lane) {
  const line = row(["", "", "n", "n", "n", ""]);
  line.children[0].append(name(lane));
  NAMES.forEach((words, at) => (line.children[at + 1].dataset.name = words));
  line.children[1].append(make("b"), make("small"));
  const toggle = make("button", "small");
  const skip = make("button", "small", "Skip …");
  toggle.type = skip.type = "button";
  skip.setAttribute("aria-label", `Skip messages of lane ${lane}`);
  toggle.addEventListener("click", () => (toggle.paused ? tell(lane, "resume") : pause(lane)));
  skip.addEventListener("click", () => skipLane(lane));
  line.children[5].append(make("span", "tools", toggle, skip));
  return line;
}

async function pause(lane) {
  const lines = [["No node of the fleet reads lane ", name(lane), " until it is resumed."], "Messages wait in the queue; their time to live goes on.", "Messages that came by HTTP are not held."];
  if (await confirm("Pause a lane?", lines, "Pause the lane")) await tell(lane, "pause");
}

async function skipLane(lane) {
  const lines = [["What is left out of lane ", name(lane), " is never delivered, on any node."], "This cannot be taken back."];
  const before = await confirm("Skip messages?", lines, "Skip them", { label: "Leave out what is in the queue and", options: BEFORE });
  if (before !== null) await tell(lane, "skip", `?before=${before}`);
}

const DONE = { pause: "is paused", resume: "is read again", skip: "leaves out what was chosen" };

async function tell(lane, action, query = "") {
  try {
    await ask("POST", `v1/lanes/${part(lane)}/${action}${query}`);
    result("lanes-result", `Lane ${lane} ${DONE[action]}.`);
    await askLanes();
  } catch (fault) {
    result("lanes-result", fault.message, true);
  }
}
