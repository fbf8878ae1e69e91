import { SPLITS } from '../../statements/manifest.ts';
import type { HistogramBars } from './histogram.ts';
import { type DataReport, type FeatureReport, REPORT_FILE } from './report.ts';

const [WIDTH, HEIGHT] = [320, 90];
const LISTED_CLASSES = 100;
const LISTED_FEATURES = 1000;
const SHADES = ['#2a6fb0', '#8cbbe3', '#d98a2b'] as const;
const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:right}td:first-child,th:first-child{text-align:left}
.plots{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0}figcaption{font-size:13px}.warning{color:#a33}`;

/** The report as one page that loads nothing: no script, no font, no image from elsewhere. */
export function reportPage(report: DataReport): string {
  const { name, rows, rejected, incomplete, warnings, classes, features, duplicates } = report;
  const about = duplicates.oneIn === 1 ? '' : ` (estimated from one row in ${duplicates.oneIn})`;
  const notes = warnings.map((warning) => `<li class="warning">${escapeHtml(warning)}</li>`).join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(name)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(name)}</h1>
<p>As confidential as the rows it describes. The same as data: ${REPORT_FILE}.</p>
<p>${SPLITS.map((split) => `${split}: ${rows[split]} rows`).join(', ')}; rejected: ${rejected}; left out as incomplete: ${incomplete}.
Repeated rows: ${duplicates.repeated}; of validation and test also in train: ${duplicates.leaked}${about}.</p>
${notes === '' ? '<p>No warnings.</p>' : `<ul>${notes}</ul>`}
<h2>Classes</h2>
<p>${SPLITS.map((split, i) => `<span style="color:${SHADES[i]}">&#9632;</span> ${split}`).join(' ')} (share of each split)</p>
<div class="plots">${SPLITS.map((split, i) =>
    plot(
      classes.slice(0, LISTED_CLASSES).map((each) => each[split]),
      split,
      SHADES[i],
    ),
  ).join('')}</div>
<table><tr><th>class</th>${SPLITS.map((split) => `<th>${split}</th>`).join('')}</tr>
${classes
  .slice(0, LISTED_CLASSES)
  .map(
    (each) => `<tr><td>${escapeHtml(each.name)}</td>${SPLITS.map((split) => `<td>${each[split]}</td>`).join('')}</tr>`,
  )
  .join('\n')}</table>${more(classes.length, LISTED_CLASSES)}
<h2>Features</h2>
<div class="plots">${features.map(histogramOf).join('')}</div>
<table><tr><th>feature</th><th>minimum</th><th>maximum</th><th>missing</th></tr>
${features
  .slice(0, LISTED_FEATURES)
  .map(
    (each) =>
      `<tr><td>${escapeHtml(each.name)}</td><td>${each.minimum}</td><td>${each.maximum}</td><td>${each.missing}</td></tr>`,
  )
  .join('\n')}</table>${more(features.length, LISTED_FEATURES)}
</body></html>
`;
}

function histogramOf({ name, histogram }: FeatureReport): string {
  return histogram === undefined ? '' : plot(histogram.counts, `${name}: ${rangeOf(histogram)}`, SHADES[0]);
}

function rangeOf({ from, width, counts }: HistogramBars): string {
  return `${short(from)} to ${short(from + width * counts.length)}`;
}

function plot(counts: readonly number[], caption: string, shade: string | undefined): string {
  const highest = Math.max(1, ...counts);
  const width = WIDTH / Math.max(1, counts.length);
  const bars = counts.map((count, i) => {
    const height = (count / highest) * HEIGHT;
    return `<rect x="${short(i * width)}" y="${short(HEIGHT - height)}" width="${short(Math.max(1, width - 1))}" height="${short(height)}"><title>${count}</title></rect>`;
  });
  return `<figure><svg width="${WIDTH}" height="${HEIGHT}" fill="${shade}" role="img">${bars.join('')}</svg><figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function more(found: number, listed: number): string {
  return found > listed ? `<p>and ${found - listed} more</p>` : '';
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Column and class names come from a file that somebody else may have written. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
