// Draws Grafana's dashboards without Grafana: panels on its grid of 24 columns, with what a Prometheus answers to their expressions.
// Arguments: Prometheus' URL, the folder of dashboards, the folder for pictures, how many seconds back, what $__rate_interval stands for.
"use strict";
const fs = require("fs");
const path = require("path");
const { must, open, walk } = require("../browser/page.cjs");

const [prometheus, folder, shots, seconds, rateInterval] = process.argv.slice(2);
const COLUMN = 62;
const ROW = 38;
const GAP = 8;
const COLORS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a", "#c4162a", "#96d98d"];
const NAMED = { green: "#2f7d31", yellow: "#b58900", red: "#c4162a", blue: "#2a4d7a" };
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// A number as Grafana writes it in this unit.
function written(value, unit) {
  const short = (number) => {
    const step = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([from]) => Math.abs(number) >= from) || [1, ""];
    return `${Number((number / step[0]).toPrecision(3))}${step[1]}`;
  };
  const time = (s) => {
    const step = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]].find(([from]) => Math.abs(s) >= from) || [1, "s"];
    return `${Number((s / step[0]).toPrecision(3))} ${step[1]}`;
  };
  switch (unit) {
    case "percentunit": return `${Number((value * 100).toPrecision(4))} %`;
    case "s": return time(value);
    case "ms": return time(value / 1000);
    case "bytes": return value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(2)} GiB` : `${(value / 2 ** 20).toFixed(1)} MiB`;
    case "reqps": return `${short(value)} req/s`;
    case "ops": return `${short(value)} ops/s`;
    case "cps": return `${short(value)} c/s`;
    case "none": return short(value);
    default: throw new Error(`the unit ${unit} is unknown`);
  }
}

async function ask(target) {
  const end = Date.now() / 1000;
  const query = target.expr.replaceAll("$instance", ".*").replaceAll("$__rate_interval", rateInterval);
  const range = { query, start: end - Number(seconds), end, step: Math.max(1, Math.round(Number(seconds) / 240)) };
  const url = target.instant ? `${prometheus}/api/v1/query` : `${prometheus}/api/v1/query_range`;
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams(target.instant ? { query } : range), signal: AbortSignal.timeout(10000) });
  const { status, error, data } = await answer.json();
  must(status === "success", `${target.expr}: ${error}`);
  return data.result.map(({ metric, values, value }) => ({
    metric,
    name: target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] || ""),
    points: (values || [value]).map(([at, number]) => [at, Number(number)]).filter(([, number]) => Number.isFinite(number)),
  })).filter(({ points }) => points.length > 0);
}

function colorOf(steps, value) {
  return NAMED[steps.filter((step) => step.value === null || value >= step.value).at(-1).color];
}

function curve(points, x, y) {
  return points.map(([at, number], n) => `${n === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(number).toFixed(1)}`).join("");
}

function stat(panel, lines) {
  const { unit, thresholds } = panel.fieldConfig.defaults;
  if (lines.length === 0) return `<div class="big none">no data</div>`;
  const [, value] = lines[0].points.at(-1);
  return `<div class="big" style="background:${colorOf(thresholds.steps, value)}">${escape(written(value, unit))}</div>`;
}

// A round number at or above, in the steps of its unit.
function roundUp(number, unit) {
  if (unit === "bytes") return roundUp(number / 2 ** 20) * 2 ** 20;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((round) => round >= number * 0.999);
}

function series(panel, lines, width, height) {
  const { unit, thresholds, custom } = panel.fieldConfig.defaults;
  if (lines.length === 0) return `<div class="none">No data. ${escape(panel.description.match(/Empty while[^.]*\./)?.[0] || "")}</div>`;
  const end = Date.now() / 1000;
  const [left, top, bottom] = [76, 8, height - 22];
  const values = lines.flatMap(({ points }) => points.map(([, number]) => number));
  const most = roundUp(Math.max(...values) > 1e-9 ? Math.max(...values) : 1, unit);
  const least = Math.min(0, ...values) < 0 ? -roundUp(-Math.min(...values)) : 0;
  const x = (at) => left + ((at - end + Number(seconds)) / Number(seconds)) * (width - left - 12);
  const y = (number) => bottom - ((number - least) / (most - least)) * (bottom - top);
  const grid = [0, 1, 2, 3, 4].map((n) => least + ((most - least) * n) / 4).map((number) =>
    `<line x1="${left}" x2="${width - 12}" y1="${y(number)}" y2="${y(number)}" stroke="#333"/>
     <text x="${left - 6}" y="${y(number) + 4}" text-anchor="end">${escape(written(number, unit))}</text>`).join("");
  const times = [0, 1, 2, 3].map((n) => end - Number(seconds) * (0.95 - n * 0.3)).map((at) =>
    `<text x="${x(at)}" y="${height - 4}" text-anchor="middle">${new Date(at * 1000).toISOString().slice(11, 19)}</text>`).join("");
  const limits = custom.thresholdsStyle.mode === "off" ? "" : thresholds.steps.filter(({ value }) => value !== null && value > least && value <= most)
    .map(({ value, color }) => `<line x1="${left}" x2="${width - 12}" y1="${y(value)}" y2="${y(value)}" stroke="${NAMED[color]}" stroke-dasharray="6 4" stroke-width="2"/>`).join("");
  const paths = lines.map(({ points }, n) => `<path d="${curve(points, x, y)}" fill="none" stroke="${COLORS[n % COLORS.length]}" stroke-width="2"/>`).join("");
  const legend = lines.map(({ name }, n) => `<span><i style="background:${COLORS[n % COLORS.length]}"></i>${escape(name)}</span>`).join("");
  return `<svg width="${width}" height="${height}">${grid}${times}${limits}${paths}</svg><div class="legend">${legend}</div>`;
}

function table(lines) {
  const names = [...new Set(lines.flatMap(({ metric }) => Object.keys(metric)))];
  const cells = (tag, texts) => `<tr>${texts.map((text) => `<${tag}>${escape(text)}</${tag}>`).join("")}</tr>`;
  return `<table>${cells("th", names)}${lines.map(({ metric }) => cells("td", names.map((name) => metric[name] || ""))).join("")}</table>`;
}

async function drawn(panel) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * COLUMN - GAP, h * ROW - GAP];
  const place = `left:${x * COLUMN}px;top:${y * ROW + 40}px;width:${width}px;height:${height}px`;
  if (panel.type === "row") return `<h2 style="${place}">${escape(panel.title)}</h2>`;
  const lines = (await Promise.all(panel.targets.map(ask))).flat();
  for (const { name } of panel.type === "timeseries" ? lines : []) must(name.trim() !== "", `${panel.title}: a line without a name`);
  const body = { stat, timeseries: series, table }[panel.type](panel.type === "table" ? lines : panel, lines, width - 16, height - 82);
  return `<section style="${place}" class="${panel.type}"><h3 class="clip">${escape(panel.title)}</h3>${body}</section>`;
}

const STYLE = `body{margin:12px;background:#111217;color:#ccccdc;font:12px "DejaVu Sans",sans-serif;position:relative}h1{font-size:18px;margin:0}
  h2{position:absolute;font-size:14px;margin:0;line-height:30px;border-bottom:1px solid #333}text{fill:#9a9aa8;font-size:11px}
  section{position:absolute;background:#181b1f;border:1px solid #2a2c33;border-radius:3px;box-sizing:border-box;padding:6px 8px;overflow:hidden}
  h3{font-size:12.5px;margin:0 0 6px;font-weight:600;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
  .big{height:calc(100% - 22px);border-radius:3px;text-align:center;color:#fff;font-size:32px;font-weight:700;line-height:92px}
  .none{color:#888;line-height:92px;text-align:center}.big.none{background:#6e6e6e;color:#fff;font-size:20px}.legend{line-height:17px;max-height:51px;overflow:hidden}
  .legend span{margin-right:14px;white-space:nowrap}.legend i{display:inline-block;width:12px;height:3px;margin-right:5px;vertical-align:middle}
  table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:5px 10px;border-bottom:1px solid #2a2c33}`;

walk(async (browser) => {
  const { page, problems } = await open(browser, { viewport: { width: 24 * COLUMN + 24, height: 800 } });
  for (const file of fs.readdirSync(folder).filter((name) => name.endsWith(".json"))) {
    const board = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
    const panels = await Promise.all(board.panels.map(drawn));
    const rows = Math.max(...board.panels.map(({ gridPos: { y, h } }) => y + h));
    await page.setContent(`<!doctype html><meta charset="utf-8"><style>${STYLE}</style><body style="height:${rows * ROW + 52}px"><h1>${escape(board.title)}</h1>${panels.join("")}`);
    const clipped = await page.$$eval(".clip", (titles) => titles.filter((title) => title.scrollWidth > title.clientWidth).map((title) => title.textContent));
    must(clipped.length === 0, `${file}: clipped: ${clipped}`);
    await page.screenshot({ path: path.join(shots, file.replace(/json$/, "png").replace(/^/, "dashboard-")), fullPage: true });
  }
  must(problems.length === 0, problems.join("\n"));
});
