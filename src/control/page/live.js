// Writes the figures: one answer of GET /v1/stats, and what came before it, into the document.

import { $, keyed, make, name, row, rows, setAttribute, setText, show } from "./dom.js";
import { byMinute, spanOf } from "./history.js";
import { ceiling, columns, curve, gauge, mirror } from "./plot.js";
import { inOrder } from "./queue.js";
import { added, came, entries, number, quantile, sum, unevenness } from "./rates.js";
import { ADVICE, LOST, OUTCOMES, PRESSURE, REASONS, bytes, count, percent, plain, rate, several, span, time } from "./words.js";

/** What rates and percentiles are of, unless somebody chose otherwise. */
const SHORT_MS = 10_000;
/** From here on a figure asks to be looked at. */
const [NEARLY_FULL, LATE_MS, SLOW_MS, UNEVEN] = [0.8, 100, 1000, 1.5];
/** From so many connections on, bytes per connection mean something. */
const ENOUGH = 10_000;

const lanesOf = (stats) => inOrder(Object.keys(stats.messages ?? {}));
const total = (stats) => number(stats.connections?.total);
const plural = { websocket: "WebSocket", sse: "SSE" };

/** Marks a figure that asks to be looked at; the words beside it say why. */
const mark = (node, wrong) => setAttribute(node, "data-look", wrong ? "yes" : "no");

/** Everything. `now` is the clock of the history's rows, `chosenMs` the window of the latencies, 0 for since the start. */
export function draw(stats, history, now, chosenMs) {
  const rates = history.rates(SHORT_MS);
  drawConnections(stats, history, now, rates);
  drawNode(stats, history, rates);
  drawOutcomes(stats, rates);
  drawLatencies(stats, history, chosenMs);
  drawReasons($("closes"), stats.closes, rates?.closes);
  drawReasons($("goaways"), stats.goaways, rates?.goaways);
  const { accepted, ...refused } = stats.handshakes ?? {};
  drawReasons($("refusals"), refused, rates?.refusals);
  drawShards(stats);
  drawRegistry(stats);
}

function drawConnections(stats, history, now, rates) {
  const [open, capacity] = [total(stats), number(stats.capacity)];
  setText($("total"), count(open));
  setText($("capacity"), count(capacity));
  const share = capacity > 0 ? open / capacity : null;
  setText($("utilization"), percent(share));
  mark($("utilization"), share >= NEARLY_FULL);
  const protocols = entries(stats.connections).filter(([protocol]) => protocol !== "total");
  protocols.sort(([one], [other]) => (one < other ? 1 : -1));
  keyed($("protocols"), protocols, ([protocol]) => protocol, ([protocol]) => {
    return make("li", `key ${protocol === "sse" ? "second" : "first"}`, `${plural[protocol] ?? plain(protocol)} `, make("b"));
  }, (item, [, value]) => setText(item.lastChild, count(value)));
  gauge($("gauge"), protocols.map(([protocol, value]) => {
    return { share: capacity > 0 ? number(value) / capacity : 0, className: protocol === "sse" ? "second" : "first" };
  }));
  const split = protocols.map(([protocol, value]) => `${count(value)} ${plural[protocol] ?? plain(protocol)}`).join(", ");
  setAttribute($("gauge"), "aria-label", `${percent(share)} of the capacity: ${split}`);
  drawPast(stats, history, now, rates);
}

function drawPast(stats, history, now, rates) {
  const { rows: past } = history;
  const range = { now, span: spanOf(past, now) };
  const seen = past.filter(({ at }) => at >= now - range.span);
  const highest = (keys) => seen.reduce((most, line) => Math.max(most, ...keys.map((key) => line[key] ?? 0)), 0);
  const most = highest(["connections"]);
  curve($("open-plot"), past, "connections", range, ceiling(most));
  setText($("open-max"), `most ${count(most)}`);
  setText($("open-scale"), count(ceiling(most)));
  const lifetime = number(stats.lifetimes?.mean_s);
  const atRest = lifetime > 0 ? total(stats) / lifetime : null;
  const flow = highest(["opened", "closed", "refused"]);
  mirror($("flow-plot"), past, range, ceiling(flow), atRest > 0 ? atRest : null);
  for (const id of ["flow-scale", "flow-scale-below"]) setText($(id), `${rate(ceiling(flow))}/s`);
  for (const key of ["opened", "closed", "refused"]) setText($(key), rate(past.at(-1)?.[key]));
  setText($("axis-from"), `${span(range.span / 1000)} ago`);
  if (lifetime > 0) {
    const rest = `At rest ${rate(atRest)} a second come, and as many go: connections divided by the mean lifetime, ${span(lifetime)}.`;
    const above = rates && rates.opened > 3 * atRest && rates.opened > 5;
    setText($("flow-words"), above ? `${rest} Now ${rate(rates.opened)} come, on average of the last 10 s.` : rest);
  }
  // A reader of the screen is not told of every second.
  if (past.length % 10 === 1) {
    setAttribute($("open-plot"), "aria-label", `Open connections, ${span(range.span / 1000)}: now ${count(total(stats))}, most ${count(most)}`);
    const flows = `in ${rate(rates?.opened)}, out ${rate(rates?.closed)}, refused ${rate(rates?.refused)}`;
    setAttribute($("flow-plot"), "aria-label", `By the second, mean of the last 10 s: ${flows}; most ${rate(flow)}`);
  }
  if (!$("minutes").closest("details").open) return;
  rows($("minutes"), byMinute(past, now), ({ ago }) => ago, ["", "n", "n", "n", "n"], (minute) => [
    minute.ago === 0 ? "now" : minute.ago, count(minute.connections), rate(minute.opened), rate(minute.closed), rate(minute.refused),
  ]);
}

function drawNode(stats, history, rates) {
  const { memory = {}, shards = [] } = stats;
  setText($("per-connection"), total(stats) > 0 ? bytes(memory.per_connection) : "–");
  const few = total(stats) < ENOUGH ? " Means something from a few thousand connections on." : "";
  setText($("per-connection-words"), `The budget of an idle WebSocket is 112 B: what the program holds, the kernel’s sockets not counted.${few}`);
  setText($("resident"), bytes(memory.resident));
  setText($("allocated"), bytes(memory.allocated));
  setText($("pressure"), PRESSURE[number(memory.pressure)] ?? "unknown");
  mark($("resident"), number(memory.pressure) > 0);
  setText($("cores"), percent(rates?.cores));
  const pair = history.pair(SHORT_MS);
  const within = (pick) => pair && quantile(came(pick(pair[0].stats), pick(pair[1].stats)), 0.99);
  const lag = within(({ latency_ms }) => latency_ms?.loop_lag);
  setText($("loop-lag"), time(lag));
  mark($("loop-lag"), lag > LATE_MS);
  const delivery = pair && quantile(deliveries(pair[0].stats, pair[1].stats), 0.99);
  setText($("delivery-p99"), time(delivery));
  mark($("delivery-p99"), delivery > SLOW_MS);
  setText($("sent"), bytes(rates?.sent));
  setText($("received"), bytes(rates?.received));
  setText($("outbox"), bytes(shards.reduce((all, { outbox_bytes }) => all + number(outbox_bytes), 0)));
}

/** The deliveries of all lanes that came between two answers, as buckets. */
function deliveries(earlier, later) {
  const lanes = entries(later.latency_ms?.delivery);
  return added(lanes.map(([lane, times]) => came(earlier?.latency_ms?.delivery?.[lane], times)));
}

function drawOutcomes(stats, rates) {
  const lanes = lanesOf(stats);
  keyed($("outcome-head"), ["Outcome", ...lanes], (lane) => lane, (lane) => {
    const cell = make("th", lane === "Outcome" ? "" : "n", name(lane));
    cell.scope = "col";
    return cell;
  }, () => {});
  const labels = [...new Set(lanes.flatMap((lane) => Object.keys(stats.messages[lane] ?? {})))];
  const since = (label) => lanes.map((lane) => number(stats.messages[lane]?.[label]));
  const seen = labels.filter((label) => label === "written" || since(label).some((value) => value > 0));
  const order = Object.keys(OUTCOMES);
  seen.sort((one, other) => order.indexOf(one) - order.indexOf(other));
  const body = $("outcome-rows");
  if (body.lanes !== lanes.join()) body.replaceChildren(), (body.known = undefined), (body.lanes = lanes.join());
  keyed(body, seen, (label) => label, (label) => {
    const line = row(["", ...lanes.map(() => "n")]);
    line.firstChild.append(make("b", "", plain(label)), make("small", "", OUTCOMES[label] ?? ""));
    for (const cell of [...line.children].slice(1)) cell.append(make("b"), make("small"));
    return line;
  }, (line, label) => {
    const counts = since(label);
    lanes.forEach((lane, at) => {
      const cell = line.children[at + 1];
      const now = rates?.messages[lane]?.[label];
      setText(cell.firstChild, `${rate(now)}/s`);
      setText(cell.lastChild, count(counts[at]));
      mark(cell, LOST.has(label) && now > 0);
    });
  });
}

function drawLatencies(stats, history, chosenMs) {
  const pair = chosenMs > 0 ? history.pair(chosenMs) : null;
  const known = chosenMs === 0 || pair !== null;
  const lines = [
    ...lanesOf(stats).map((lane) => [`delivery, ${lane}`, (of) => of?.latency_ms?.delivery?.[lane]]),
    ["handshake", (of) => of?.latency_ms?.handshake],
    ["loop lag", (of) => of?.latency_ms?.loop_lag],
  ];
  rows($("latency-rows"), lines, ([label]) => label, ["", "n", "n", "n", "n"], ([label, pick]) => {
    const times = pick(stats);
    if (chosenMs === 0) {
      const any = number(times?.count) > 0;
      return [label, ...["p50", "p90", "p99"].map((key) => time(any ? times[key] : null)), count(times?.count)];
    }
    const list = known ? came(pick(pair[0].stats), times) : [];
    const many = list.reduce((all, [, value]) => all + value, 0);
    return [label, ...[0.5, 0.9, 0.99].map((share) => time(quantile(list, share))), known ? count(many) : "–"];
  });
  const list = known ? deliveries(pair?.[0].stats, stats) : [];
  drawTimes(list);
}

/** Bounds of the node's histograms, ms. */
const BOUNDS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, Infinity];

function drawTimes(list) {
  const counts = BOUNDS_MS.map((bound) => list.find(([known]) => Math.abs(known - bound) < bound / 1e6 || known === bound)?.[1] ?? 0);
  const most = Math.max(1, ...counts);
  columns($("latency-plot"), counts.map((value) => ({ height: value / most })));
  const all = counts.reduce((sum, value) => sum + value, 0);
  const at = (share) => time(quantile(list, share));
  setText($("latency-words"), all === 0
    ? "No message was written in this time."
    : `${several(all, "delivery", "deliveries")}: half of them within ${at(0.5)}, 99 of 100 within ${at(0.99)}.`);
  setAttribute($("latency-plot"), "aria-label", $("latency-words").textContent);
  const ticks = $("latency-ticks");
  if (ticks.childElementCount === 0) {
    for (const bound of [0.1, 1, 10, 100, 1000, 10_000]) ticks.append(tick(time(bound), (BOUNDS_MS.indexOf(bound) + 1) / BOUNDS_MS.length));
  }
}

/** A word below a plot, at a share of its width. */
export function tick(text, share) {
  const word = make("span", "", text);
  word.style.left = `${share * 100}%`;
  if (share > 0.94) word.className = "last";
  if (share < 0.04) word.className = "first";
  return word;
}

function drawReasons(body, counts, rates) {
  const seen = entries(counts).filter(([, value]) => number(value) > 0);
  const lines = seen.length > 0 ? seen : [["none since the start", null]];
  keyed(body, lines, ([label]) => label, ([label, value]) => {
    const line = row(["", "n", "n"]);
    const [advice, meaning] = REASONS[label] ?? [];
    line.firstChild.append(make(value === null ? "span" : "b", value === null ? "quiet" : "", plain(label)));
    if (meaning) line.firstChild.append(make("small", "", meaning), make("small", `advice ${advice}`, ADVICE[advice]));
    return line;
  }, (line, [label, value]) => {
    setText(line.children[1], value === null ? "" : rate(rates?.[label]));
    setText(line.children[2], value === null ? "" : count(value));
  });
}

function drawShards(stats) {
  const shards = Array.isArray(stats.shards) ? stats.shards : [];
  const counts = shards.map(({ connections }) => number(connections));
  const most = Math.max(1, ...counts);
  columns($("shard-plot"), counts.map((value) => ({ height: value / most })));
  const uneven = unevenness(counts);
  const words = [several(shards.length, "shard")];
  if (shards.length > 0) words.push(`${count(Math.min(...counts))} to ${count(Math.max(...counts))} connections each`);
  if (uneven !== null && sum(counts) > 100) words.push(`the fullest holds ${uneven.toFixed(2)} times the mean`);
  setText($("shard-words"), `${words.join("; ")}.`);
  mark($("shard-words"), uneven > UNEVEN && total(stats) > 1000);
  setAttribute($("shard-plot"), "aria-label", $("shard-words").textContent);
  if (!$("shards").closest("details").open) return;
  rows($("shards"), shards, ({ shard }) => shard, ["", "n", "n", "n", "n"], (shard) => [
    shard.shard, count(shard.connections), count(sum(shard.mailbox)), bytes(shard.outbox_bytes), time(shard.loop_lag_ms?.p99),
  ]);
}

function drawRegistry(stats) {
  const { shared, up, unsettled, healing, nodes } = stats.registry ?? {};
  const operations = entries(stats.latency_ms?.registry).filter(([, times]) => number(times?.count) > 0);
  show($("registry-part"), operations.length > 0);
  rows($("registry-rows"), operations, ([operation]) => operation, ["", "n", "n", "n"], ([operation, times]) => [
    plain(operation), time(times.p50), time(times.p99), count(times.count),
  ]);
  const reason = String(stats.ready?.reason ?? "");
  const wrong = up === false || reason.startsWith("registry: ");
  mark($("registry-words"), wrong);
  if (!shared) return setText($("registry-words"), "In memory: this node is alone, and knows its own connections only.");
  const words = [wrong ? "It cannot be asked, or refuses: what is known is used meanwhile." : "It answers."];
  if (reason.startsWith("registry: ")) words.push(`${reason}.`);
  words.push(`${several(nodes, "node lives", "nodes live")}, this one included.`);
  if (number(unsettled) > 0) words.push(`${several(unsettled, "connection has", "connections have")} a record that is not yet what it should be.`);
  if (healing) words.push("After a loss, connections are registered again.");
  setText($("registry-words"), words.join(" "));
}
