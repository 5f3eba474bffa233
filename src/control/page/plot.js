// Draws the plots, as SVG of a fixed inner size that is stretched to its place: nothing is measured, so nothing is laid out anew.

import { setAttribute, shape, shapes } from "./dom.js";

const [WIDTH, HEIGHT] = [600, 100];
const line = (className) => shape("path", { class: className, "vector-effect": "non-scaling-stroke" });
const part = (svg, key, create) => (svg[key] ??= svg.appendChild(create()));

/** The next round number that is not below; at least 1. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}

/** Where a time lies, from 0 on the left to WIDTH at now. */
const across = (at, now, span) => Math.round((WIDTH * 10 * (at - (now - span))) / span) / 10;
const fixed = (value) => Math.round(value * 10) / 10;

/** A path through what is known; a gap breaks it. `height(value)` is where it lies. With `ground` it is the area down to there. */
function path(rows, key, { now, span }, height, ground) {
  let [words, first, last] = ["", null, null];
  const close = () => {
    if (ground !== undefined && first !== null) words += `L${last},${ground}L${first},${ground}Z`;
    first = null;
  };
  for (const row of rows) {
    const value = row[key];
    if (value === null || row.at < now - span) {
      close();
      continue;
    }
    const x = across(row.at, now, span);
    words += `${first === null ? "M" : "L"}${x},${fixed(height(value))}`;
    first ??= x;
    last = x;
  }
  close();
  return words;
}

/** One curve with the area below it. */
export function curve(svg, rows, key, range, most) {
  const height = (value) => HEIGHT - 1 - (HEIGHT - 4) * Math.min(1, value / most);
  setAttribute(part(svg, "area", () => line("area")), "d", path(rows, key, range, height, HEIGHT));
  setAttribute(part(svg, "edge", () => line("edge")), "d", path(rows, key, range, height));
}

/** What comes above the middle, what goes below it, what is refused as a line above; dashes where both lie at rest. */
export function mirror(svg, rows, range, most, atRest) {
  const middle = HEIGHT / 2;
  const share = (value) => (middle - 3) * Math.min(1, value / most);
  const up = (value) => middle - share(value);
  const down = (value) => middle + share(value);
  setAttribute(part(svg, "middle", () => line("middle")), "d", `M0,${middle}H${WIDTH}`);
  setAttribute(part(svg, "in", () => line("area in")), "d", path(rows, "opened", range, up, middle));
  setAttribute(part(svg, "out", () => line("area gone")), "d", path(rows, "closed", range, down, middle));
  setAttribute(part(svg, "no", () => line("edge refused")), "d", path(rows, "refused", range, up));
  // Nearer to the middle than this, the dashes would only thicken it.
  const seen = atRest !== null && atRest <= most && atRest > most / 12;
  const [above, below] = [fixed(up(atRest ?? 0)), fixed(down(atRest ?? 0))];
  const dashes = seen ? `M0,${above}H${WIDTH}M0,${below}H${WIDTH}` : "";
  setAttribute(part(svg, "rest", () => line("rest")), "d", dashes);
}

/** A thread at a place between 0 and 1, or none. */
export function thread(svg, share) {
  const x = share === null ? null : fixed(share * WIDTH);
  setAttribute(part(svg, "thread", () => line("thread")), "d", x === null ? "" : `M${x},0V${HEIGHT}`);
}

/** Bars of the heights `list` gives, `{height, className}`, `height` of 0 to 1; and a dashed line where `level` is not null. */
export function columns(svg, list, level = null) {
  const group = part(svg, "group", () => shape("g"));
  const width = WIDTH / Math.max(1, list.length);
  const gap = Math.min(2, width / 5);
  const bars = shapes(group, list.length, () => shape("rect"));
  list.forEach(({ height, className = "column" }, at) => {
    const tall = height > 0 ? Math.max(1, (HEIGHT - 4) * Math.min(1, height)) : 0;
    const bar = bars[at];
    setAttribute(bar, "class", className);
    setAttribute(bar, "x", fixed(at * width + gap / 2));
    setAttribute(bar, "width", fixed(Math.max(0.5, width - gap)));
    setAttribute(bar, "y", fixed(HEIGHT - tall));
    setAttribute(bar, "height", fixed(tall));
  });
  const y = level === null ? null : fixed(HEIGHT - (HEIGHT - 4) * Math.min(1, level));
  setAttribute(part(svg, "level", () => line("rest")), "d", y === null ? "" : `M0,${y}H${WIDTH}`);
}

/** Parts of a whole side by side: `{share, className}`. */
export function gauge(svg, list) {
  const bars = shapes(svg, list.length, () => shape("rect", { y: 0, height: 10 }));
  let from = 0;
  list.forEach(({ share, className }, at) => {
    const width = 1000 * Math.max(0, Math.min(1 - from, share));
    setAttribute(bars[at], "class", className);
    setAttribute(bars[at], "x", fixed(from * 1000));
    setAttribute(bars[at], "width", fixed(share > 0 ? Math.max(2, width) : 0));
    from += width / 1000;
  });
}
