//! How the page looks, in light and in dark, and the few lines of script that tell values under the pointer. The page reads
//! as well without the script.

/// The style sheet. The lines' colours are told apart by people who see colours otherwise, too (after Okabe and Ito).
pub const STYLE: &str = r#"
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --dim: #5b6470; --rule: #dde1e6; --grid: #e9ecef;
  --band: rgba(40, 60, 90, .035); --band-odd: rgba(40, 60, 90, .085); --good: #11703c; --good-page: #e5f5eb;
  --bad: #b3201b; --bad-page: #fdecea; --care: #7a5200; --care-page: #fff4d6;
  --c0: #0068b0; --c1: #d55e00; --c2: #00845f; --c3: #a83f82; --c4: #8a6d00; --c5: #4aa3df;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1c2127; --ink: #e6e9ed; --dim: #9ba5b1; --rule: #343b44; --grid: #2a3038;
    --band: rgba(170, 195, 230, .035); --band-odd: rgba(170, 195, 230, .095); --good: #6fd69a; --good-page: #15301f;
    --bad: #ff9b94; --bad-page: #3b1a19; --care: #f2cd6b; --care-page: #35290c;
    --c0: #58b0f0; --c1: #ff9a4d; --c2: #38c79d; --c3: #e08bc2; --c4: #e0c24a; --c5: #a6d8ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 32px 0 12px; }
h3 { font-size: 16px; margin: 0 0 8px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; }
.dim { color: var(--dim); font-weight: normal; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.verdict { border-radius: 8px; border: 1px solid; padding: 12px 16px; margin: 16px 0; font-size: 17px; overflow-wrap: anywhere; }
.verdict strong { font-size: 19px; }
.verdict.good { background: var(--good-page); color: var(--good); }
.verdict.bad { background: var(--bad-page); color: var(--bad); }
.notes { border-radius: 8px; padding: 10px 16px; margin: 12px 0; overflow-wrap: anywhere; }
.notes ul { margin: 4px 0; padding-left: 20px; }
.notes.bad { background: var(--bad-page); color: var(--bad); }
.notes.care { background: var(--care-page); color: var(--care); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 10px; margin: 16px 0; }
.tile, .card, .plot { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.tile { padding: 10px 14px; }
.tile .name { color: var(--dim); font-size: 13px; }
.tile .value { font-size: 23px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile .more { color: var(--dim); font-size: 13px; }
.plots { display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px; }
.cards { display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px; align-items: start; }
@media (min-width: 900px) { .plots, .cards { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.card { padding: 14px 16px; min-width: 0; }
.plot { margin: 0; padding: 14px 16px 10px; min-width: 0; display: flex; flex-direction: column; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 10px; font-size: 13px; }
.swatch { width: 24px; height: 8px; vertical-align: middle; overflow: visible; }
.banded { padding-top: 14px; }
.field { margin-top: auto; display: grid; grid-template-columns: 56px minmax(0, 1fr); grid-template-rows: 210px 22px; }
.y, .x, .canvas { position: relative; }
.x { grid-column: 2; }
.y span, .x span, .level { position: absolute; font-size: 12px; color: var(--dim); white-space: nowrap; line-height: 1; }
.y span { right: 7px; transform: translateY(50%); }
.x span { top: 7px; transform: translateX(-50%); }
.x span.last { transform: translateX(-85%); }
.canvas > svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.level { right: 4px; transform: translateY(100%); padding-top: 4px; }
.band { position: absolute; top: 0; bottom: 0; background: var(--band); }
.band.odd { background: var(--band-odd); }
.band span {
  position: absolute; top: -16px; left: 1px; right: 2px; font-size: 11px; line-height: 1.2; color: var(--dim);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
path { fill: none; vector-effect: non-scaling-stroke; }
.grid { stroke: var(--grid); stroke-width: 1; }
.limit { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 2 3; }
.line { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.thin { stroke-width: 1.1; }
.line.dashed { stroke-dasharray: 5 4; }
.range { stroke-width: .8; stroke-opacity: .55; fill-opacity: .22; stroke-linejoin: round; }
.dots { stroke-width: 6; stroke-linecap: round; }
.dots.thin { stroke-width: 3.5; }
.c0 { stroke: var(--c0); } .range.c0 { fill: var(--c0); }
.c1 { stroke: var(--c1); } .range.c1 { fill: var(--c1); }
.c2 { stroke: var(--c2); } .range.c2 { fill: var(--c2); }
.c3 { stroke: var(--c3); } .range.c3 { fill: var(--c3); }
.c4 { stroke: var(--c4); } .range.c4 { fill: var(--c4); }
.c5 { stroke: var(--c5); } .range.c5 { fill: var(--c5); }
.pointer { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--dim); pointer-events: none; }
.tip {
  position: absolute; top: 18px; z-index: 1; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  padding: 5px 9px; font-size: 12px; pointer-events: none; white-space: nowrap; box-shadow: 0 2px 8px rgba(0, 0, 0, .15);
}
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-top: 1px solid var(--grid); vertical-align: top; }
th { font-weight: 500; color: var(--dim); border-top: 0; }
tbody th { color: var(--ink); font-weight: normal; border-top: 1px solid var(--grid); overflow-wrap: break-word; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.words { overflow-wrap: anywhere; }
.words th { width: 34%; }
.latencies th, .latencies td { white-space: nowrap; padding-right: 14px; }
.good-word { color: var(--good); white-space: nowrap; } .bad-word { color: var(--bad); font-weight: 600; white-space: nowrap; }
details { margin-top: 10px; }
summary { cursor: pointer; }
summary span { white-space: normal !important; }
footer { margin-top: 36px; color: var(--dim); font-size: 13px; }
@media (max-width: 520px) {
  main { padding: 14px 10px 40px; }
  .field { grid-template-columns: 48px minmax(0, 1fr); grid-template-rows: 180px 22px; }
  .card, .plot { padding-left: 10px; padding-right: 12px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile .value { font-size: 19px; }
  .many span:nth-last-child(even) { display: none; }
}
@media print { .card, .plot, .tile { break-inside: avoid; } body { background: none; } }
"#;

/// The script: a line under the pointer, and beside it what each line of the plot has there.
pub const SCRIPT: &str = r#"
"use strict";
(() => {
  const short = (v) => {
    const a = Math.abs(v);
    if (a >= 1000) return Math.round(v).toLocaleString("en");
    return String(Number(v.toPrecision(a < 1 ? 2 : 3)));
  };
  const prefixed = (v, size, names) => {
    let at = 0;
    while (Math.abs(v) >= 999.5 && at < names.length - 1) { v /= size; at += 1; }
    return short(v) + " " + names[at];
  };
  const told = (v, unit) => {
    if (unit === "us") return prefixed(v, 1000, ["µs", "ms", "s"]);
    if (unit === "bytes") return prefixed(v, 1000, ["B", "kB", "MB", "GB", "TB"]);
    if (unit === "s") return v < 120 ? short(v) + " s" : Math.floor(v / 60) + " min " + Math.round(v % 60) + " s";
    return short(v) + (unit ? (unit === "per s" ? "/s" : " " + unit) : "");
  };
  const axis = (text) => {
    const [scale, min, max, ...unit] = text.split(" ");
    return { scale, min: Number(min), max: Number(max), unit: unit.join(" ") };
  };
  const value = (axis, share) => {
    const v = axis.min + share * (axis.max - axis.min);
    // The least of an axis of rates stands for none.
    if (axis.scale === "log" && axis.unit === "per s" && share < 1e-6) return 0;
    return axis.scale === "log" ? 10 ** v : v;
  };
  const where = (axis, share) => {
    const v = value(axis, share);
    if (axis.scale !== "percentile") return axis.unit ? told(v, axis.unit) : short(v) + " open";
    const digits = Math.max(0, Math.ceil(v) - 1);
    return "p" + Number((100 - 100 / 10 ** v).toFixed(digits + 1));
  };
  for (const canvas of document.querySelectorAll(".canvas")) {
    const x = axis(canvas.dataset.x), y = axis(canvas.dataset.y);
    let lines = null;
    const spots = (text) => [...text.matchAll(/([\d.]+) ([\d.]+)/g)].map((spot) => [spot[1] / 1000, 1 - spot[2] / 300]);
    // Each line has its stretches, and dots, which are stretches of one point.
    const read = () => {
      const lines = new Map();
      for (const path of canvas.querySelectorAll("[data-name]")) {
        const stretches = path.getAttribute("d").split("M").filter((part) => part).map(spots);
        lines.set(path.dataset.name, (lines.get(path.dataset.name) || []).concat(stretches));
      }
      return lines;
    };
    // How high a line is at a place, and where its next point is; null in a gap.
    const height = (stretches, at) => {
      const near = (point) => Math.abs(point[0] - at);
      for (const points of stretches) {
        const next = points.findIndex((point) => point[0] >= at);
        const after = points[next], before = points[(next < 0 ? points.length : next) - 1];
        const closest = !before || (after && near(after) < near(before)) ? after : before;
        if (after && before) {
          const width = after[0] - before[0], share = width > 0 ? (at - before[0]) / width : 1;
          return [before[1] + share * (after[1] - before[1]), closest[0]];
        }
        if (near(closest) < 0.006) return [closest[1], closest[0]];
      }
      return null;
    };
    // Of an area: how high and how low it is at a place.
    const reach = (name, at) => {
      const path = [...canvas.querySelectorAll("[data-range]")].find((path) => path.dataset.range === name);
      if (!path) return "";
      const near = spots(path.getAttribute("d")).filter((spot) => Math.abs(spot[0] - at) < 1e-6).map((spot) => spot[1]);
      if (near.length === 0) return "";
      return " (" + told(value(y, Math.min(...near)), y.unit) + " to " + told(value(y, Math.max(...near)), y.unit) + ")";
    };
    let pointer = null, tip = null;
    const leave = () => { if (pointer) { pointer.remove(); tip.remove(); pointer = tip = null; } };
    const move = (event) => {
      const box = canvas.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
      if (at < 0 || at > 1) { leave(); return; }
      lines = lines || read();
      if (!pointer) {
        pointer = canvas.appendChild(document.createElement("div"));
        tip = canvas.appendChild(document.createElement("div"));
        pointer.className = "pointer";
        tip.className = "tip";
      }
      pointer.style.left = at * 100 + "%";
      tip.replaceChildren();
      const row = (words) => { tip.appendChild(document.createElement("div")).textContent = words; };
      row(where(x, at));
      for (const [name, stretches] of lines) {
        const found = height(stretches, at);
        if (found) row(name + ": " + told(value(y, found[0]), y.unit) + reach(name, found[1]));
      }
      const right = at > 0.55;
      tip.style.left = right ? "auto" : "calc(" + at * 100 + "% + 8px)";
      tip.style.right = right ? "calc(" + (1 - at) * 100 + "% + 8px)" : "auto";
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerdown", move);
    canvas.addEventListener("pointerleave", leave);
  }
})();
"#;
