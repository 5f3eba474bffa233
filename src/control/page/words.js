// Numbers and names for people.
//
// Pure. The reasons and what they advise clients are those of `src/model/reason.rs`; a test compares the two.

import { number } from "./rates.js";

export const NONE = "–";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const STEPS = [["", 1], ["k", 1e3], ["M", 1e6], ["G", 1e9], ["T", 1e12], ["P", 1e15]];

/** Three digits that count: 0.34, 3.4, 34, 340. */
function three(value) {
  if (value === 0) return "0";
  if (value < 0.01) return "< 0.01";
  const digits = value < 0.995 ? 2 : value < 99.5 ? 1 : 0;
  return String(Number(value.toFixed(digits)));
}

function stepped(value) {
  const step = STEPS.findLast(([, size]) => value >= size * 0.9995) ?? STEPS[0];
  const most = step === STEPS.at(-1) && value / step[1] >= 1000;
  return most ? `over 999 ${step[0]}` : `${three(value / step[1])}${step[0] && ` ${step[0]}`}`;
}

/** A whole number: every digit up to 99,999, then three of them with k, M, … */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  const known = number(value);
  return known < 99_999.5 ? grouped.format(known) : stepped(known);
}

/** By the second, without the words. */
export function rate(value) {
  return value === null || value === undefined ? NONE : stepped(number(value));
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  let [rest, unit] = [number(value), 0];
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  while (rest >= 999.5 && unit < units.length - 1) [rest, unit] = [rest / 1024, unit + 1];
  return rest >= 9999.5 ? `over 9,999 ${units[unit]}` : `${three(rest)} ${units[unit]}`;
}

/** A time in ms. One above all bounds of a histogram is not known: more than the last bound. */
export function time(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms === Infinity) return "> 30 s";
  const value = number(ms);
  if (value < 999.5) return `${three(value)} ms`;
  return value < 120_000 ? `${three(value / 1000)} s` : span(value / 1000);
}

/** A span of whole seconds: `45 s`, `2 min 30 s`, `12 min`, `1 h 30 min`, `3 d`. */
export function span(seconds) {
  const whole = Math.round(number(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 600 && whole % 60 > 0) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 120) return `${minutes} min`;
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  if (hours < 48) return rest === 0 ? `${hours} h` : `${hours} h ${rest} min`;
  return `${grouped.format(Math.round(hours / 24))} d`;
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = number(share) * 100;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value < 9.95 ? Number(value.toFixed(1)) : grouped.format(value)} %`;
}

/** One of them, or several. */
export function several(value, one, many = `${one}s`) {
  return `${count(value)} ${Math.round(number(value)) === 1 ? one : many}`;
}

/** `snake_case` as words, for a label that this page does not know. */
export function plain(label) {
  return String(label).replaceAll("_", " ");
}

/** What clients are told to do. */
export const ADVICE = {
  now: "come back at once, with a little jitter",
  back_off: "back off: come back after a random time that doubles with each failure",
  never: "do not come back by itself",
};

/** Why a connection ended or was asked to leave, or a handshake was refused: the advice, and what it means. */
export const REASONS = {
  bad_request: ["never", "malformed request"],
  bad_identity: ["never", "unusable user or device name"],
  auth_failed: ["never", "no credential, or one that is not valid"],
  bad_origin: ["never", "a page of an origin that is not allowed"],
  not_found: ["never", "another path than /ws and /sse"],
  method_not_allowed: ["never", "another method than GET"],
  handshake_timeout: ["back_off", "the head was not complete within limits.handshake_timeout"],
  bad_version: ["never", "another WebSocket version than 13"],
  head_too_large: ["never", "a head above limits.head_bytes"],
  bad_proxy_header: ["never", "malformed PROXY header"],
  full: ["back_off", "the node holds all that it may: limits.connections, or limits.memory is reached"],
  draining: ["back_off", "the node is leaving"],
  admission_rate: ["back_off", "above limits.handshakes_per_second"],
  address_limit: ["back_off", "above limits.connections_per_address"],
  takeover_fight: ["never", "two clients share a device’s name, and take it from each other"],
  blocked: ["never", "the user is kept out by an operator"],
  auth_unavailable: ["back_off", "whoever knows who clients are could not be asked"],
  no_token: ["back_off", "no token came as the first frame within auth.first_frame_timeout"],
  token_expected: ["never", "the first frame was no token"],
  no_descriptor: ["back_off", "the process or the host has no descriptor left"],
  answered: ["now", "a health check or a CORS preflight, answered in full"],
  client_closed: ["now", "the client closed"],
  client_gone: ["now", "the connection broke off without a close"],
  dead_peer: ["now", "no answer to pings for two intervals"],
  lifetime: ["now", "its lifetime was over"],
  token_expired: ["back_off", "the end of the token or cookie has come; come back with a new one"],
  drain: ["now", "the node drains"],
  displaced: ["never", "the device has connected elsewhere"],
  user_limit: ["never", "the user has newer connections: limits.connections_per_user"],
  operator: ["never", "an operator asked"],
  slow_client: ["back_off", "messages did not leave, and their lane’s policy is to close"],
  buffer_pressure: ["back_off", "limits.buffer_bytes is reached, and this connection held most"],
  protocol_error: ["never", "broke the framing rules"],
  invalid_payload: ["never", "text that is not UTF-8, or data that does not inflate"],
  message_too_big: ["never", "a message above limits.message_bytes"],
  inbound_rate: ["back_off", "more frames in a second than limits.inbound_rate"],
  server_error: ["back_off", "a fault of ours: see the log"],
};

/** What became of a message for a device. */
export const OUTCOMES = {
  written: "the kernel took the last byte",
  acked: "the client acknowledged it",
  offline: "no such user or device is connected",
  stale: "the connection was gone between lookup and write",
  slow: "it did not leave within delivery.timeout, or found no room",
  rate_limited: "the connection’s limits.push_rate was used up",
  expired: "its life was over before it could be written",
  too_large: "the body is larger than allowed",
  duplicate: "the connection has had this id",
  failed: "no room, a fault of ours, or an answer that cannot be believed",
};

/** Outcomes that mean that all is well. */
export const ARRIVED = new Set(["written", "acked", "duplicate"]);
/** Outcomes that an operator should look at. */
export const LOST = new Set(["failed", "slow", "rate_limited", "too_large"]);

/** The steps of a drain, in order. */
export const PHASES = {
  serving: "Serving",
  delay: "Not ready, still accepting",
  leaving: "Asking connections to leave",
  done: "Done: refuses newcomers",
};

/** What limits.memory makes the node do without. */
export const PRESSURE = ["none", "sheds its lowest lane", "refuses handshakes too"];
