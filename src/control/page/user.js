// What an operator does with one user: look up, push, disconnect.

import { confirm, guard, may, result } from "./access.js";
import { ask, part } from "./api.js";
import { $, make, name, setText, show } from "./dom.js";
import { ARRIVED, OUTCOMES, plain, several, span } from "./words.js";

/** How long a user may be kept out, from the dialog. */
const BLOCKS = [["", "no: they may come back at once"], ["1m", "for 1 minute"], ["10m", "for 10 minutes"], ["1h", "for 1 hour"], ["1d", "for 1 day"]];
const UNADDRESSABLE = "A browser takes this name for a step in a path and cannot ask for it: use holdfast devices.";

/** What the cells of a device are called where there is no head above them. */
const NAMES = ["on ", "by ", "since ", "until ", ""];

/** The user whose devices are shown. */
let shown = null;
let denied = () => {};

export function setUp() {
  denied = guard("admin", $("disconnect-denied"), () => [$("disconnect-user"), ...document.querySelectorAll("[data-disconnect]")]);
  guard("read", make("p"), () => [$("find")]);
  guard("send", $("push-denied"), () => [$("push"), ...document.querySelectorAll("[data-push]")]);
  $("find-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUp($("user").value);
  });
  $("push-form").addEventListener("submit", (event) => {
    event.preventDefault();
    push();
  });
  $("disconnect-user").addEventListener("click", disconnectUser);
}

/** Lanes come with the first figures. */
export function setLanes(lanes) {
  const select = $("push-lane");
  if (select.options.length > lanes.length) return;
  select.replaceChildren();
  const first = Object.assign(make("option", "", "default"), { value: "" });
  select.append(first, ...lanes.map((lane) => Object.assign(make("option", "", lane), { value: lane })));
}

const addressable = (user) => user !== "." && user !== "..";

async function lookUp(user) {
  if (!addressable(user)) return result("find-result", UNADDRESSABLE, true);
  try {
    const { status, body } = await ask("GET", `v1/users/${part(user)}/devices`, { fine: [404] });
    shown = user;
    const devices = status === 404 ? [] : body.devices;
    drawDevices(devices);
    const partial = body?.partial ? " There may be others: the registry does not answer." : "";
    result("find-result", `${devices.length > 0 ? `${several(devices.length, "device")} of` : "Not connected:"} ${user}.${partial}`);
    $("push-user").value = user;
    $("push-device").value = "";
  } catch (fault) {
    drawDevices([]);
    result("find-result", fault.message, true);
  }
}

/** A moment as so long ago or ahead; its date in full when pointed at. */
function moment(text, ahead) {
  const at = Date.parse(text);
  if (!Number.isFinite(at)) return document.createTextNode("–");
  const words = span(Math.max(0, (ahead ? at - Date.now() : Date.now() - at) / 1000));
  const node = make("time", "", ahead ? `in ${words}` : `${words} ago`);
  node.dateTime = text;
  node.title = new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
  return node;
}

function button(words, label, onClick) {
  const node = make("button", "small", words);
  node.type = "button";
  node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

function drawDevices(devices) {
  const sorted = devices.toSorted((one, other) => (one.device < other.device ? -1 : 1));
  const lines = sorted.map(({ device, node, protocol, connected_at: since, expires_at: until }) => {
    const head = make("th", "", name(device));
    head.scope = "row";
    const push = button("Push", `Push to device ${device}`, () => {
      $("push-user").value = shown;
      $("push-device").value = device;
      $("push-body").focus();
    });
    push.dataset.push = "";
    push.disabled = !may("send");
    const leave = button("Disconnect …", `Disconnect device ${device}`, () => disconnectDevice(device));
    leave.dataset.disconnect = "";
    const cells = [name(node), protocol ?? "unknown", moment(since, false), moment(until, true), make("span", "tools", push, leave)];
    return make("tr", "", head, ...cells.map((cell, at) => {
      const place = make("td", "", cell);
      place.dataset.name = NAMES[at];
      return place;
    }));
  });
  $("devices").replaceChildren(...lines);
  show($("devices-part"), devices.length > 0);
  denied();
}

async function push() {
  const user = $("push-user").value;
  if (!addressable(user)) return result("push-result", UNADDRESSABLE, true);
  const query = new URLSearchParams();
  for (const [key, id] of [["device", "push-device"], ["lane", "push-lane"], ["ttl", "push-ttl"]]) {
    if ($(id).value !== "") query.set(key, $(id).value);
  }
  const type = $("push-kind").value === "json" ? "application/json" : "text/plain";
  show($("outcomes-part"), false);
  result("push-result", "Sending …");
  const began = performance.now();
  try {
    const path = `v1/users/${part(user)}/push${query.size > 0 ? `?${query}` : ""}`;
    const { body } = await ask("POST", path, { body: $("push-body").value, type, fine: [404] });
    const took = Math.max(1, Math.round(performance.now() - began));
    const outcomes = Array.isArray(body?.outcomes) ? body.outcomes : [];
    drawOutcomes(outcomes);
    const arrived = outcomes.filter(({ outcome }) => ARRIVED.has(outcome)).length;
    result("push-result", outcomes.length === 0
      ? `Offline: no such user or device is connected. Nothing is kept for later. (${took} ms)`
      : `Arrived at ${arrived} of ${several(outcomes.length, "device")}, in ${took} ms there and back.`, arrived < outcomes.length);
  } catch (fault) {
    drawOutcomes([]);
    result("push-result", fault.message, true);
  }
}

function drawOutcomes(outcomes) {
  const lines = outcomes.map(({ device, outcome, node }) => {
    const head = make("th", "", device ? name(device) : "–");
    head.scope = "row";
    const words = make("td", "", make("b", "", plain(outcome)), make("small", "", OUTCOMES[outcome] ?? ""));
    return make("tr", "", head, words, make("td", "", node ? name(node) : "–"));
  });
  $("outcomes").replaceChildren(...lines);
  show($("outcomes-part"), outcomes.length > 0);
}

const GOODBYE = "It gets a goaway and, after lifetime.grace, close code 4003, which means: do not come back by yourself. A client that obeys the goaway comes back.";

async function disconnectDevice(device) {
  const user = shown;
  const sure = await confirm("Disconnect a device?", [["Device ", name(device), " of user ", name(user), "."], GOODBYE], "Disconnect the device");
  if (sure) await disconnect(user, `v1/users/${part(user)}/devices/${part(device)}`, addressable(device));
}

async function disconnectUser() {
  const user = shown;
  const lines = [["Every device of user ", name(user), ", on all nodes."], GOODBYE, "A block keeps the user out: handshakes get 401 meanwhile."];
  const block = await confirm("Disconnect the user?", lines, "Disconnect the user", { label: "Keep the user out", options: BLOCKS });
  if (block === null) return;
  await disconnect(user, `v1/users/${part(user)}${block && `?block=${block}`}`, true);
}

async function disconnect(user, path, possible) {
  if (!possible) return result("find-result", UNADDRESSABLE, true);
  try {
    const { body } = await ask("DELETE", path);
    const blocked = body?.blocked ? " The user is kept out." : "";
    result("find-result", `${several(body?.asked ?? 0, "device was", "devices were")} asked to leave.${blocked} Look up again to see who is back.`);
  } catch (fault) {
    result("find-result", fault.message, true);
  }
  setText($("push-result"), "");
}
