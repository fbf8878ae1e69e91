import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { escapeHtml, plot } from '../chart.ts';
import type { Context } from '../context.ts';
import { count } from '../progress.ts';
import { runReader } from './read-run.ts';
import { type RunSnapshot, runAlerts } from './run-view.ts';

const STYLE = `:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;background:Canvas;color:CanvasText}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.5rem}h3{font-size:1rem;margin-bottom:0}
table{border-collapse:collapse;width:100%}caption{text-align:left;padding-bottom:.3rem}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #8884;overflow-wrap:anywhere}
td:first-child{white-space:nowrap}.number{text-align:right;font-variant-numeric:tabular-nums}
.failure{font-weight:600}.failure::before{content:"\\2717\\0020"}
svg{overflow:visible;margin:1.2rem 0 .5rem;max-width:100%;height:auto}text{font-size:12px;fill:currentColor}`;

/** A run as one page that loads nothing and runs nothing: its state, the course of its metrics, its security timeline, the alerts. */
export function runReport(snapshot: RunSnapshot): string {
  const { runId, status, metrics, events, at } = snapshot;
  const names = [...new Set(metrics.map(({ name }) => name))].sort();
  const curves = new Map(
    names.map((name) => [name, metrics.filter((point) => point.name === name).toSorted((a, b) => a.step - b.step)]),
  );
  const progress = status?.progress;
  const facts: readonly (readonly [string, string])[] = [
    ['state', status === undefined ? 'queued' : `${status.state}, ${status.step}`],
    ...(progress === undefined ? [] : [['steps', `${count(progress.step)} of ${count(progress.steps)}`] as const]),
    ...(status?.message === undefined ? [] : [['reason', status.message] as const]),
    ...(status?.failures ?? []).map((failure) => ['failed check', failure] as const),
    ['seen', at.toISOString()],
  ];
  const alerts = runAlerts(snapshot).map(({ rule }) => [
    `severity ${rule.severity}`,
    rule.title,
    `docs/runbook.md#${rule.name}`,
  ]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(runId)}</title><style>${STYLE}</style></head><body><main>
<h1>${escapeHtml(runId)}</h1>
${table('The run', ['what', 'value'], facts)}
<h2>Metrics</h2>
<p>As the agreement lets them out, rounded by the trainer.</p>
${names.map((name) => `<h3>${escapeHtml(name)}</h3>${plot([curves.get(name) ?? []], name)}`).join('\n')}
${table(
  'Newest values',
  ['metric', 'value', 'step'],
  names.map((name) => {
    const last = curves.get(name)?.at(-1);
    return [name, last === undefined ? '' : String(last.value), last === undefined ? '' : count(last.step)];
  }),
)}
<h2>Alerts</h2>
${alerts.length === 0 ? '<p>None.</p>' : table('Firing when this was written', ['severity', 'what', 'what to do'], alerts)}
<h2>Security timeline</h2>
${table(
  `${count(events.length)} events, each chained to the one before`,
  ['time', 'event', 'outcome', 'detail'],
  events.map(({ TimeGenerated, Event, Outcome, Detail }) => [TimeGenerated, Event, Outcome, Detail]),
)}
</main></body></html>
`;
}

/** Writes {@link runReport} of how a run stands now. */
export async function writeReport(context: Context, runId: string, path: string): Promise<void> {
  await writeFileAtomic(path, new TextEncoder().encode(runReport(await runReader(context, runId)())));
}

function table(caption: string, heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = heads.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('');
  const body = rows.map((row) => {
    const failed = row.includes('failure') ? ' class="failure"' : '';
    return `<tr>${row.map((text, i) => `<td${i === 2 ? failed : ''}>${escapeHtml(text)}</td>`).join('')}</tr>`;
  });
  return `<table><caption>${escapeHtml(caption)}</caption><thead><tr>${head}</tr></thead><tbody>
${body.join('\n')}
</tbody></table>`;
}
