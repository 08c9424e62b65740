// The summary three times: text on the terminal, JSON for machines, one HTML page for people. Files go to REPORTS, which must exist.

import { reached } from './run.js';

/** For `handleSummary`: the reports of a scenario of this name. */
export function reports(name, data) {
  const rows = Object.entries(data.metrics).sort(([a], [b]) => a.localeCompare(b)).map(([metric, { values, thresholds }]) => ({
    metric,
    values: Object.entries(values).map(([stat, value]) => `${stat} ${round(value)}`).join(', '),
    promises: Object.entries(thresholds || {}).map(([text, { ok }]) => ({ text, ok })),
  }));
  const promises = rows.flatMap((row) => row.promises.map((promise) => ({ ...promise, metric: row.metric })));
  const checks = allChecks(data.root_group);
  const title = [name, reached(data.metrics)].filter(Boolean).join(': ');
  const out = { stdout: text(title, promises, checks, rows) };
  if (__ENV.REPORTS) {
    out[`${__ENV.REPORTS}/${name}.json`] = JSON.stringify(data, null, 2);
    out[`${__ENV.REPORTS}/${name}.html`] = html(title, promises, checks, rows);
  }
  return out;
}

function allChecks(group) {
  return [...(group.checks || []), ...(group.groups || []).flatMap(allChecks)];
}

function round(value) {
  return Number.isInteger(value) ? `${value}` : Number(value).toFixed(2);
}

function text(title, promises, checks, rows) {
  const mark = (ok) => (ok ? 'kept  ' : 'BROKEN');
  return [
    `\n${title}`,
    ...promises.map(({ ok, metric, text }) => `  ${mark(ok)}  ${metric} ${text}`),
    ...checks.map(({ name, passes, fails }) => `  ${mark(fails === 0)}  ${name}: ${passes} times, ${fails} times not`),
    ...rows.filter(({ metric }) => /^(http_reqs|http_req_duration|iterations)$/.test(metric)).map(({ metric, values }) => `  ${metric}: ${values}`),
    '',
  ].join('\n');
}

function escape(value) {
  return String(value).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

function html(title, promises, checks, rows) {
  const line = (cells, ok) => `<tr class="${ok ? 'kept' : 'broken'}">${cells.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}table{border-collapse:collapse;width:100%}
td{border-bottom:1px solid #ccc;padding:.3rem .6rem;vertical-align:top}.kept td:first-child{color:#06622a}.broken{background:#fde8e8}
.broken td:first-child{color:#a00;font-weight:bold}</style>
<h1>${escape(title)}</h1><h2>Promises</h2><table>${promises.map(({ ok, metric, text }) => line([ok ? 'kept' : 'BROKEN', metric, text], ok)).join('')}</table>
<h2>Checks</h2><table>${checks.map((c) => line([c.fails === 0 ? 'kept' : 'BROKEN', c.name, `${c.passes} times, ${c.fails} times not`], c.fails === 0)).join('')}</table>
<h2>Figures</h2><table>${rows.map(({ metric, values }) => line([metric, values], true)).join('')}</table></html>\n`;
}
