// Draws when connections are asked to leave and how long they have been here, and says what that means.

import { $, rows, setAttribute, setText } from "./dom.js";
import { tick } from "./live.js";
import { columns } from "./plot.js";
import { bars, herds, number, wider } from "./rates.js";
import { count, rate, span } from "./words.js";

/** A plot is this many times as high as what leaves at rest, or higher where there is more. */
const LEAST = 2;
/** What stands above this many times is cut: one bucket must not make all others flat. */
const MOST = 12;
/** The node knows these times to the second: bars that are narrower would rise and fall with that alone. */
const NARROWEST_S = 5;

const ahead = ({ from, to }) => (from === 0 ? `within ${span(to)}` : `between ${span(from)} and ${span(to)} from now`);
const ago = ({ from, to }) => (from === 0 ? `within the last ${span(to)}` : `between ${span(from)} and ${span(to)} ago`);
const times = (value) => `${value < 10 ? value.toFixed(1) : count(value)} times`;

/** Two histograms, from `lifetimes` of GET /v1/stats. */
export function drawLifetimes(lifetimes, connections) {
  const mean = number(lifetimes?.mean_s);
  const read = (list) => {
    const [counts, bucket] = wider(Array.isArray(list) ? list : [], number(lifetimes?.bucket_s), NARROWEST_S);
    return bars(counts, counts.map((_, at) => (at + 1) * bucket), connections, mean);
  };
  const due = read(lifetimes?.goaways_due);
  const ages = read(lifetimes?.ages);
  drawOne("due", due, mean > 0 ? connections / mean : 0, "column herd");
  drawOne("ages", ages, mean > 0 ? connections / mean : 0, "column crowd");
  sayDue(due, lifetimes ?? {}, connections);
  sayAges(ages, lifetimes ?? {}, connections, herds(due).length > 0);
}

function drawOne(id, list, atRest, marked) {
  const highest = list.reduce((most, { times: value }) => Math.max(most, value ?? 0), 0);
  const top = Math.min(MOST, Math.max(LEAST, highest * 1.05));
  columns($(`${id}-plot`), list.map(({ times: value, herd }) => {
    return { height: (value ?? 0) / top, className: herd ? marked : "column" };
  }), atRest > 0 ? 1 / top : null);
  const rest = $(`${id}-rest`);
  setText(rest, atRest > 0 ? `at rest: ${rate(atRest)}/s` : "");
  rest.style.bottom = `${(96 / top).toFixed(1)}%`;
  const ticks = $(`${id}-ticks`);
  const end = list.at(-1)?.to ?? 0;
  if (ticks.end !== end && end > 0) {
    ticks.end = end;
    const shares = [0, 0.25, 0.5, 0.75, 1];
    ticks.replaceChildren(...shares.map((share) => tick(share === 0 ? "now" : span(end * share), share)));
  }
  const body = $(`${id}-rows`);
  if (!body.closest("details").open) return;
  rows(body, list.filter(({ count: value }) => value > 0), ({ from }) => from, ["", "n", "n", "n"], (bar) => [
    `${span(bar.from)} to ${span(bar.to)}`, count(bar.count), rate(bar.rate), bar.times === null ? "–" : `${bar.times.toFixed(1)}×`,
  ]);
}

function say(id, herd, words) {
  const node = $(`${id}-verdict`);
  setAttribute(node, "data-herd", herd ? "yes" : "no");
  setText(node, words);
  setAttribute($(`${id}-plot`), "aria-label", words);
}

function sayDue(list, { goaways_due_later: later, leaving, distribution: law }, connections) {
  const [largest] = herds(list);
  const rest = [];
  if (number(later) > 0) rest.push(`${count(later)} are due later.`);
  if (number(leaving) > 0) rest.push(`${count(leaving)} have been asked and are about to go.`);
  if (connections === 0) return say("due", false, "Nobody is here who could leave.");
  if (!largest) {
    return say("due", false, ["No herd: no bar stands far above the dashed line, which no law of lifetimes exceeds at rest.", ...rest].join(" "));
  }
  const words = `A herd: ${count(largest.count)} connections are asked to leave ${ahead(largest)}, up to ${times(largest.times)} what leaves at rest, and each comes back as a handshake.`;
  const why = { zuul: " The law zuul lets them differ by a tenth only: exponential would spread them.", uniform: " The law uniform spreads them a little more each time; exponential does at once." }[law];
  return say("due", true, [words + (why ?? ""), ...rest].join(" "));
}

function sayAges(list, { ages_above: above }, connections, herdAhead) {
  const [largest] = herds(list);
  if (connections === 0) return say("ages", false, "Nobody is here.");
  const rest = number(above) > 0 ? ` ${count(above)} are older.` : "";
  if (!largest) return say("ages", false, `They came evenly, as they do at rest.${rest}`);
  const words = `${count(largest.count)} came together, ${ago(largest)}: a start, a deploy or a lost network, perhaps.`;
  const then = herdAhead ? " Compare: they will leave together as well." : " That does no harm: they will not leave together.";
  return say("ages", false, words + then + rest);
}
