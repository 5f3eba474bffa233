// What happened between two answers of GET /v1/stats.
//
// Pure: values in, values out; no document, no clock. A node that has started again counts from zero: then there is no rate,
// rather than a wrong one.

/** Two readings closer than this, in seconds, say nothing. */
const SHORTEST_S = 0.2;
/** A bucket is a herd from this many times what leaves at rest. */
export const HERD = 1.5;
/** Fewer connections than this in a bucket may be chance. */
const HERD_LEAST = 10;

/** A count as the page can trust it: whatever is no finite number, or is below zero, is 0. */
export function number(value) {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0;
}

/** The entries of an object; of anything else none. */
export function entries(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
}

export function sum(counts) {
  return entries(counts).reduce((all, [, count]) => all + number(count), 0);
}

const pick = (stats, path) => path.reduce((at, key) => at?.[key], stats);
const passed = (earlier, later, path) => number(pick(later, path)) - number(pick(earlier, path));

/** By the second, each label of a group of counters: null as soon as one has gone back. */
function group(earlier, later, path, seconds) {
  const rates = {};
  for (const [label, count] of entries(pick(later, path))) {
    const came = number(count) - number(pick(earlier, path)?.[label]);
    if (came < 0) return null;
    rates[label] = came / seconds;
  }
  return rates;
}

function groups(earlier, later, path, seconds) {
  const all = {};
  for (const [name] of entries(pick(later, path))) {
    all[name] = group(earlier, later, [...path, name], seconds);
    if (all[name] === null) return null;
  }
  return all;
}

/** Whether both answers come from one run of one node. */
export function sameRun(earlier, later) {
  if (earlier.node !== later.node || earlier.version !== later.version) return false;
  if (number(later.uptime_s) < number(earlier.uptime_s)) return false;
  const counters = [["cpu_seconds"], ["bytes", "received"], ["bytes", "sent"], ["handshakes", "accepted"]];
  return counters.every((path) => passed(earlier, later, path) >= 0);
}

/**
 * By the second: what came, went and was sent between two answers that lie `seconds` apart. Null when the node has started
 * again in between, or the time is too short.
 */
export function between(earlier, later, seconds) {
  if (!(seconds >= SHORTEST_S) || !sameRun(earlier, later)) return null;
  const handshakes = group(earlier, later, ["handshakes"], seconds);
  const closes = group(earlier, later, ["closes"], seconds);
  const goaways = group(earlier, later, ["goaways"], seconds);
  const messages = groups(earlier, later, ["messages"], seconds);
  if (!handshakes || !closes || !goaways || !messages) return null;
  const { accepted: opened = 0, ...refusals } = handshakes;
  const lanes = entries(pick(later, ["kafka", "lanes"])).map(([name]) => name);
  const record = (name) => Math.max(0, passed(earlier, later, ["kafka", "lanes", name, "records"])) / seconds;
  return {
    seconds,
    opened,
    refusals,
    refused: sum(refusals),
    closes,
    closed: sum(closes),
    goaways,
    messages,
    received: passed(earlier, later, ["bytes", "received"]) / seconds,
    sent: passed(earlier, later, ["bytes", "sent"]) / seconds,
    cores: passed(earlier, later, ["cpu_seconds"]) / seconds,
    records: Object.fromEntries(lanes.map((name) => [name, record(name)])),
  };
}

/** A histogram's buckets as the node gives them: [bound in ms, count], the bound null above all bounds. */
function buckets(times) {
  const list = Array.isArray(times?.within_ms) ? times.within_ms.filter(Array.isArray) : [];
  return list.map(([bound, count]) => [bound === null ? Infinity : number(bound), number(count)]);
}

/** What a histogram counted between two answers, as [bound in ms, count] with the bounds rising; all of it without the first. */
export function came(earlier, later) {
  const before = new Map(buckets(earlier));
  const list = buckets(later).map(([bound, count]) => [bound, Math.max(0, count - (before.get(bound) ?? 0))]);
  return list.filter(([, count]) => count > 0).sort(([one], [other]) => one - other);
}

/** The sum of several lists of buckets. */
export function added(lists) {
  const all = new Map();
  for (const [bound, count] of lists.flat()) all.set(bound, (all.get(bound) ?? 0) + count);
  return [...all].sort(([one], [other]) => one - other);
}

/** The bound within which a share of the times lies, ms; null when there are none. Of one time it is that one's. */
export function quantile(list, share) {
  const all = list.reduce((total, [, count]) => total + count, 0);
  const wanted = all - Math.floor(all * (1 - share) + 1e-9);
  let counted = 0;
  for (const [bound, count] of list) {
    counted += count;
    if (count > 0 && counted >= wanted) return bound;
  }
  return null;
}

/**
 * The bars of a histogram over time: `{from, to, count, rate, times, herd}` each. `rate` is the bucket's connections by the
 * second of its width, and `times` how many times as high that is as what leaves at rest, connections / mean lifetime. At rest
 * no bucket is higher, whatever the law of lifetimes: one that is far higher, and not by chance, is a herd. The last bucket may
 * be open (`to` is Infinity): it has no rate and is never a herd.
 */
export function bars(counts, bounds, connections, meanS) {
  const atRest = number(meanS) > 0 ? number(connections) / meanS : 0;
  return counts.map((value, at) => {
    const [from, to] = [at === 0 ? 0 : number(bounds[at - 1]), bounds[at] ?? Infinity];
    const count = number(value);
    const width = to - from;
    const rate = Number.isFinite(width) && width > 0 ? count / width : null;
    const times = rate !== null && atRest > 0 ? rate / atRest : null;
    const expected = atRest * width;
    const beyondChance = count - expected > 4 * Math.sqrt(expected + 1);
    const herd = times !== null && times >= HERD && count >= HERD_LEAST && beyondChance;
    return { from, to, count, rate, times, herd };
  });
}

/** Counts of buckets of `width` seconds as those of buckets of at least `least` seconds: `[counts, width]`. */
export function wider(counts, width, least) {
  const many = width > 0 ? Math.max(1, Math.ceil(least / width)) : 1;
  if (many === 1) return [counts, width];
  const together = [];
  counts.forEach((count, at) => (together[Math.floor(at / many)] = (together[Math.floor(at / many)] ?? 0) + number(count)));
  return [together, width * many];
}

/** Neighbouring herds as one: `{from, to, count, times}`, `times` that of the highest bar; the largest first. */
export function herds(list) {
  const found = [];
  let open = null;
  for (const bar of list) {
    if (!bar.herd) {
      open = null;
    } else if (open) {
      Object.assign(open, { to: bar.to, count: open.count + bar.count, times: Math.max(open.times, bar.times) });
    } else {
      open = { from: bar.from, to: bar.to, count: bar.count, times: bar.times };
      found.push(open);
    }
  }
  return found.sort((one, other) => other.count - one.count);
}

/** How evenly connections lie: the fullest over the mean; null where there is nothing to compare. */
export function unevenness(counts) {
  const all = counts.reduce((total, count) => total + count, 0);
  return counts.length > 1 && all > 0 ? Math.max(...counts) / (all / counts.length) : null;
}
