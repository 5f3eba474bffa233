// The admin page's modules that need no document. Arguments: their folder, and the reasons and outcomes of the node as JSON.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
const [folder, known] = process.argv.slice(1);
const load = (name) => import(new URL(name, pathToFileURL(`${folder}/`)));
const { added, bars, between, came, entries, herds, number, quantile, sameRun, unevenness, wider } = await load("rates.js");
const { History, SPAN_MS, byMinute, spanOf } = await load("history.js");
const words = await load("words.js");

// The words are the node's: each reason with its advice, each outcome, and no other.
const { reasons, outcomes } = JSON.parse(known);
const told = Object.fromEntries(Object.entries(words.REASONS).map(([label, [advice]]) => [label, advice]));
assert.deepEqual(told, reasons, "words.js and the table of src/model/reason.rs");
assert.deepEqual(Object.keys(words.OUTCOMES), outcomes, "words.js and src/model/outcome.rs");
for (const advice of Object.values(told)) assert.ok(words.ADVICE[advice]);

// Numbers for people.
for (const [how, value, shown] of [
  ["count", 0, "0"], ["count", 99_999, "99,999"], ["count", 100_000, "100 k"], ["count", 1_234_567, "1.2 M"],
  ["count", null, "–"], ["count", "12", "0"], ["count", -1, "0"], ["count", NaN, "0"],
  ["rate", 0, "0"], ["rate", 0.001, "< 0.01"], ["rate", 0.5, "0.5"], ["rate", 3.14, "3.1"], ["rate", 31.4, "31.4"], ["rate", 999.6, "1 k"], ["rate", 5_000_000, "5 M"],
  ["bytes", 0, "0 B"], ["bytes", 112, "112 B"], ["bytes", 1024, "1 KiB"], ["bytes", 2 ** 30, "1 GiB"], ["bytes", 2 ** 80, "over 9,999 PiB"],
  ["time", 0.1, "0.1 ms"], ["time", 12, "12 ms"], ["time", 2500, "2.5 s"], ["time", 600_000, "10 min"], ["time", Infinity, "> 30 s"], ["time", null, "–"],
  ["span", 45, "45 s"], ["span", 150, "2 min 30 s"], ["span", 180, "3 min"], ["span", 1800, "30 min"], ["span", 5400, "90 min"], ["span", 9000, "2 h 30 min"], ["span", 864_000, "10 d"],
  ["percent", 0, "0 %"], ["percent", 0.0001, "< 0.1 %"], ["percent", 0.0567, "5.7 %"], ["percent", 0.5, "50 %"], ["percent", undefined, "–"],
]) {

  assert.equal(words[how](value), shown, `${how}(${value})`);
}
assert.equal(words.several(1, "device"), "1 device");
assert.equal(words.several(2, "delivery", "deliveries"), "2 deliveries");

// Nonsense is nothing.
for (const nonsense of [null, undefined, "7", -1, NaN, Infinity, {}, []]) assert.equal(number(nonsense), 0);
for (const nonsense of [null, undefined, 7, "x", [1]]) assert.deepEqual(entries(nonsense), []);

// Rates are differences by the second; a run that has begun anew has none.
const stats = (more = {}) => ({
  node: "n", version: "1", uptime_s: 10, cpu_seconds: 1, bytes: { received: 0, sent: 0 },
  handshakes: { accepted: 0, full: 0 }, closes: { lifetime: 0 }, goaways: {}, messages: { high: { written: 0 } },
  kafka: { lanes: { high: { records: 5 } } }, connections: { total: 0 }, latency_ms: {}, ...more,
});
const later = stats({
  uptime_s: 12, cpu_seconds: 1.5, bytes: { received: 4, sent: 2000 }, handshakes: { accepted: 20, full: 4 }, closes: { lifetime: 6, new_one: 2 },
  messages: { high: { written: 10 } }, kafka: { lanes: { high: { records: 9 } } },
});
const rates = between(stats(), later, 2);
assert.deepEqual(
  [rates.opened, rates.refusals, rates.refused, rates.closes, rates.closed, rates.messages, rates.sent, rates.cores, rates.records],
  [10, { full: 2 }, 2, { lifetime: 3, new_one: 1 }, 4, { high: { written: 5 } }, 1000, 0.25, { high: 2 }],
);
assert.equal(between(stats(), later, 0.05), null, "too short to say");
assert.equal(between(later, stats(), 2), null, "counts have gone back");
for (const more of [{ version: "2" }, { node: "m" }, { uptime_s: 3 }, { cpu_seconds: 0 }]) {
  assert.ok(!sameRun(stats(), stats(more)), JSON.stringify(more));
}
assert.notEqual(between({}, {}, 1), null, "an empty answer is no crash");

// Percentiles of what came in between; null stands for the bucket above all bounds.
const before = { within_ms: [[1, 10], [5, 1]] };
const after = { within_ms: [[1, 10], [5, 99], [10, 1], [null, 1]] };
const list = came(before, after);
assert.deepEqual(list, [[5, 98], [10, 1], [Infinity, 1]]);
assert.deepEqual([quantile(list, 0.5), quantile(list, 0.98), quantile(list, 0.99), quantile(list, 0.999)], [5, 5, 10, Infinity]);
assert.equal(quantile([], 0.99), null);
assert.equal(quantile([[7, 1]], 0.5), 7, "of one time that one");
assert.deepEqual(came(undefined, before), [[1, 10], [5, 1]]);
assert.deepEqual(came({ within_ms: "x" }, null), []);
assert.deepEqual(added([[[1, 2]], [[1, 3], [5, 1]]]), [[1, 5], [5, 1]]);

// A herd is what stands far above connections / mean lifetime: lives drawn by the exponential law show none, equal ones do.
const [mean, connections, bounds] = [1800, 18_000, Array.from({ length: 60 }, (_, at) => (at + 1) * 60)];
const flat = bars(bounds.map((bound) => Math.round(600 * Math.exp(-(bound - 30) / mean))), bounds, connections, mean);
assert.equal(herds(flat).length, 0);
assert.ok(flat.every(({ times }) => times <= 1));
const together = bars(bounds.map((_, at) => (at >= 27 && at < 30 ? 6000 : 0)), bounds, connections, mean);
assert.deepEqual(herds(together), [{ from: 1620, to: 1800, count: 18_000, times: 10 }]);
const two = bars(bounds.map((_, at) => ({ 3: 2000, 9: 5000, 10: 4000 })[at] ?? 0), bounds, connections, mean);
assert.deepEqual(herds(two).map(({ count }) => count), [9000, 2000]);
assert.equal(herds(bars([5, 3], [60, 120], 8, mean)).length, 0, "so few may be chance");
assert.equal(herds(bars([500], [Infinity], 500, mean)).length, 0, "an open bucket has no rate");
assert.equal(herds(bars([500, 0], [60, 120], 500, 0)).length, 0, "nothing to compare with");
assert.deepEqual(wider([1, 2, 3, 4, 5], 2, 5), [[6, 9], 6]);
assert.deepEqual(wider([1, 2], 60, 5), [[1, 2], 60]);
assert.deepEqual(wider([], 0, 5), [[], 0]);
assert.equal(unevenness([10, 30]), 1.5);
assert.equal(unevenness([5]), null);
assert.equal(unevenness([0, 0]), null);

// The past: ten minutes of it, with a gap where the page saw nothing, and none across a restart.
const history = new History();
const at = (second, accepted, more) => stats({ uptime_s: second + 100, handshakes: { accepted }, connections: { total: accepted }, unix_ms: 1e12 + second * 1000, ...more });
for (let second = 0; second < 900; second++) assert.equal(history.add(second * 1000, at(second, second * 2)), false);
assert.ok(history.rows.length <= SPAN_MS / 1000 + 1);
assert.equal(history.rows.at(-1).opened, 2);
assert.equal(history.rates(10_000).opened, 2);
assert.equal(history.rates(10_000).seconds, 10);
assert.equal(history.rates(60_000).seconds, 60);
assert.equal(spanOf(history.rows, 899_000), SPAN_MS);
assert.equal(spanOf(history.rows.slice(-3), 899_000), 60_000);
const minutes = byMinute(history.rows, 899_000);
assert.deepEqual([minutes.length >= 10, minutes[0].ago, minutes[0].opened, minutes[0].connections], [true, 0, 2, 1798]);
assert.equal(history.add(920_000, at(920, 1840)), false);
assert.deepEqual(history.rows.slice(-2).map((row) => row.connections), [null, 1840]);
assert.equal(history.rows.at(-1).opened, null, "what was in the gap is not known");
assert.equal(history.add(921_000, at(1, 3)), true, "started again");
assert.equal(history.rates(10_000), null);
assert.equal(history.add(922_000, at(2, 5)), false);
assert.equal(history.rates(10_000).opened, 2);
// The node's clock tells the time between answers, unless it leaps.
assert.equal(history.add(923_400, at(3, 7)), false);
assert.equal(history.rates(1_000).opened, 2);
assert.equal(history.add(924_400, { ...at(4, 9), unix_ms: 5 }), false);
assert.equal(history.rates(500).opened, 2);
console.log("good");
