import type { MetricPoint } from '../../runtime/metric-history.ts';
import { ranked } from './ranking.ts';
import type { Trial } from './trials.ts';

const [WIDTH, HEIGHT] = [720, 260];
/** Curves of more would not be told apart. */
const SHOWN_CURVES = 8;
/** Told apart also by those who see few colours (Okabe and Ito 2008). */
const SHADES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#6b6b00', '#000000'] as const;
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

function plot(curves: readonly (readonly MetricPoint[])[], label: string): string {
  const points = curves.flat();
  if (points.length === 0) return '';
  const steps = Math.max(...points.map(({ step }) => step), 1);
  const [low, high] = [Math.min(...points.map(({ value }) => value)), Math.max(...points.map(({ value }) => value))];
  const x = (step: number) => short((step / steps) * WIDTH);
  const y = (value: number) => short(HEIGHT - ((value - low) / (high - low || 1)) * HEIGHT);
  const lines = curves.map(
    (curve, i) =>
      `<polyline fill="none" stroke="${SHADES[i]}" stroke-width="2" points="${curve.map(({ step, value }) => `${x(step)},${y(value)}`).join(' ')}"/>${curve
        .map(
          ({ step, value }) =>
            `<circle cx="${x(step)}" cy="${y(value)}" r="3" fill="${SHADES[i]}"><title>${i + 1}, step ${step}: ${short(value)}</title></circle>`,
        )
        .join('')}`,
  );
  return `<svg width="${WIDTH}" height="${HEIGHT + 20}" role="img" aria-label="${escapeHtml(label)} over the steps">
<line x1="0" y1="${HEIGHT}" x2="${WIDTH}" y2="${HEIGHT}" stroke="#999"/>${lines.join('')}
<text x="0" y="-4">${short(high)}</text><text x="0" y="${HEIGHT + 15}">${short(low)}</text><text x="${WIDTH}" y="${HEIGHT + 15}" text-anchor="end">step ${steps}</text></svg>`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
