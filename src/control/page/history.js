// What the page remembers: ten minutes of small rows, and one minute of whole answers to take differences from.
//
// Pure: time comes in as milliseconds of a clock that never goes back.

import { between, number, sameRun } from "./rates.js";

/** How much of the past is drawn. */
export const SPAN_MS = 600_000;
/** Whole answers are kept for so long: the longest difference that is shown. */
const WHOLE_MS = 62_000;
/** Rows further apart than this have a gap between them: nobody knows what was there. */
const GAP_MS = 3_500;

/** Between two answers, by the node's clock where it says it: the network's whims are no rates. A leap of that clock is not believed. */
function secondsOf(earlier, later) {
  const here = (later.at - earlier.at) / 1000;
  const there = (number(later.stats.unix_ms) - number(earlier.stats.unix_ms)) / 1000;
  return there > 0 && Math.abs(there - here) < 2 ? there : here;
}

export class History {
  /** `{at, connections, opened, closed, refused}`; the rates are null where there is none. */
  rows = [];
  #whole = [];

  /** Takes an answer. True when the node has started again since the one before. */
  add(at, stats) {
    const last = this.#whole.at(-1);
    const rates = last ? between(last.stats, stats, secondsOf(last, { at, stats })) : null;
    const again = last !== undefined && !sameRun(last.stats, stats);
    if (again) this.#whole = [];
    const near = last !== undefined && at - last.at <= GAP_MS;
    if (last && !near) this.rows.push({ at: last.at + 1, connections: null, opened: null, closed: null, refused: null });
    this.rows.push({
      at,
      connections: number(stats.connections?.total),
      opened: near && rates ? rates.opened : null,
      closed: near && rates ? rates.closed : null,
      refused: near && rates ? rates.refused : null,
    });
    this.#whole.push({ at, stats });
    while (this.rows.length > 0 && this.rows[0].at < at - SPAN_MS) this.rows.shift();
    while (this.#whole.length > 2 && this.#whole[0].at < at - WHOLE_MS) this.#whole.shift();
    return again;
  }

  /** The newest whole answer, and the youngest that is at least so old, or the oldest there is: `[earlier, later]`, or null. */
  pair(ms) {
    const later = this.#whole.at(-1);
    if (this.#whole.length < 2) return null;
    const old = this.#whole.findLast(({ at }) => at <= later.at - ms + 250);
    return [old ?? this.#whole[0], later];
  }

  /** Rates of the last so many ms; null before there are two answers. */
  rates(ms) {
    const pair = this.pair(ms);
    return pair && between(pair[0].stats, pair[1].stats, secondsOf(...pair));
  }
}

/** The span that a plot shows: it grows with what there is to show. */
export function spanOf(rows, now) {
  const age = rows.length > 0 ? now - rows[0].at : 0;
  return [60_000, 120_000, 300_000].find((span) => age <= span) ?? SPAN_MS;
}

/** The rows of each whole minute back from now, the newest first, for a table: `{ago, connections, opened, closed, refused}`. */
export function byMinute(rows, now) {
  const minutes = [];
  for (const row of rows) {
    const ago = Math.floor((now - row.at) / 60_000);
    if (row.connections === null || ago < 0) continue;
    (minutes[ago] ??= []).push(row);
  }
  const mean = (list, key) => {
    const known = list.map((row) => row[key]).filter((value) => value !== null);
    return known.length > 0 ? known.reduce((all, value) => all + value, 0) / known.length : null;
  };
  return minutes.flatMap((list, ago) => ({
    ago,
    connections: list.at(-1).connections,
    opened: mean(list, "opened"),
    closed: mean(list, "closed"),
    refused: mean(list, "refused"),
  }));
}
