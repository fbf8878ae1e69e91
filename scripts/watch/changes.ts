import type { FiringAlert } from '../../runtime/alerts/rule.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import type { MetricPoint } from '../../runtime/metric-history.ts';
import type { RunStatus } from '../../runtime/queue.ts';
import { printable } from '../../runtime/shape.ts';
import { progressText } from '../run/submit.ts';
import { eventText, type RunSnapshot, runAlerts } from './run-view.ts';

/** Something that was not so a moment ago. */
export type Change =
  | { readonly type: 'status'; readonly status: RunStatus }
  | { readonly type: 'progress'; readonly status: RunStatus }
  | { readonly type: 'metric'; readonly point: MetricPoint }
  | { readonly type: 'event'; readonly event: SecurityEvent }
  | { readonly type: 'alert'; readonly alert: FiringAlert };

/** Tells each thing once, whatever is read twice: a run that is gone on with tells the steps again that it makes again. */
export function changes(): (snapshot: RunSnapshot) => readonly Change[] {
  let before: RunStatus | undefined;
  const points = new Set<string>();
  const heads = new Set<string>();
  const alerts = new Set<string>();
  return (snapshot) => {
    const { status, metrics, events } = snapshot;
    const isNew = (seen: Set<string>, key: string) => !seen.has(key) && seen.add(key).size > 0;
    const found: Change[] = events.filter(({ Head }) => isNew(heads, Head)).map((event) => ({ type: 'event', event }));
    for (const point of metrics) {
      if (isNew(points, `${point.name} ${point.step} ${point.at}`)) found.push({ type: 'metric', point });
    }
    for (const alert of runAlerts(snapshot)) if (isNew(alerts, alert.rule.name)) found.push({ type: 'alert', alert });
    if (status !== undefined && status.updatedAt !== before?.updatedAt) {
      const isStep = status.state !== before?.state || status.step !== before?.step;
      found.push({ type: isStep ? 'status' : 'progress', status });
      before = status;
    }
    return found;
  };
}

/** A change as a line for a log; progress in between has none. */
export function changeLine(change: Change): string | undefined {
  if (change.type === 'progress') return undefined;
  if (change.type === 'event') return eventText(change.event);
  if (change.type === 'metric') {
    const { name, step, value } = change.point;
    return `${name} ${value.toFixed(4)} at step ${step}`;
  }
  if (change.type === 'alert') {
    const { severity, title, name } = change.alert.rule;
    return `alert, severity ${severity}: ${title} (docs/runbook.md#${name})`;
  }
  const { state, step, progress } = change.status;
  return printable(`${state}: ${step}${progress === undefined ? '' : `, ${progressText(progress)}`}`);
}

/** A change as one JSON object. */
export function changeJson(change: Change): object {
  const { type } = change;
  if (type === 'status' || type === 'progress') return { type, ...change.status };
  if (type === 'event') return { type, ...change.event };
  if (type === 'metric') return { type, ...change.point };
  const { rule, dimensions, value, from, to } = change.alert;
  return { type, alert: rule.name, title: rule.title, severity: rule.severity, dimensions, value, from, to };
}
