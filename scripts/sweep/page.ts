import type { MetricPoint } from '../../runtime/metric-history.ts';
import { escapeHtml, plot, SHADES } from '../chart.ts';
import { ranked } from './ranking.ts';
import type { Trial } from './trials.ts';

/** Curves of more would not be told apart. */
const SHOWN_CURVES = 8;
const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:right}td:last-child,th:last-child{text-align:left}
svg{overflow:visible;margin:1rem 0}text{font-size:12px;fill:#555}`;

/** The trials as one page that loads nothing: curves of the metric for the best ones, and a table of all. */
export function sweepPage(
  title: string,
  trials: readonly Trial[],
  metric: string,
  curves: ReadonlyMap<string, readonly MetricPoint[]>,
): string {
  const best = ranked(trials, metric);
  const fields = Object.keys(best[0]?.set ?? {});
  const row = ({ set, metrics, folder, error }: Trial, i: number) =>
    `<tr><td style="color:${i < SHOWN_CURVES ? SHADES[i] : 'inherit'}">${i < SHOWN_CURVES ? '&#9632;' : ''} ${i + 1}</td>${fields
      .map((field) => `<td>${escapeHtml(set[field] ?? '')}</td>`)
      .join('')}<td>${metrics?.[metric]?.toFixed(4) ?? '-'}</td><td>${escapeHtml(folder ?? error ?? '')}</td></tr>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(metric)} over the steps, of the ${Math.min(SHOWN_CURVES, best.length)} best of ${trials.length}.</p>
${plot(
  best
    .slice(0, SHOWN_CURVES)
    .map(({ folder = '' }) => (curves.get(folder) ?? []).filter(({ name }) => name === metric)),
  metric,
)}
<table><tr><th></th>${fields.map((field) => `<th>${escapeHtml(field.replace(/^training\./, ''))}</th>`).join('')}<th>${escapeHtml(metric)}</th><th>model</th></tr>
${best.map(row).join('\n')}</table>
</body></html>
`;
}
