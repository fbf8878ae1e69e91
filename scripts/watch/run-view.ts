import { evaluateAlert, type FiringAlert } from '../../runtime/alerts/rule.ts';
import { platformAlerts } from '../../runtime/alerts/rules.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import type { MetricPoint } from '../../runtime/metric-history.ts';
import type { RunStatus } from '../../runtime/queue.ts';
import { printable } from '../../runtime/shape.ts';
import { leftTimer } from '../progress.ts';
import { progressText } from '../run/submit.ts';

/** What is known of a run at a moment. */
export interface RunSnapshot {
  readonly runId: string;
  readonly status: RunStatus | undefined;
  readonly metrics: readonly MetricPoint[];
  /** In the order in which they came; the last ones where there are many. */
  readonly events: readonly SecurityEvent[];
  readonly at: Date;
}

const SHOWN_EVENTS = 6;
const SPARK_WIDTH = 32;
const SPARKS = '▁▂▃▄▅▆▇█';
const BAR_WIDTH = 24;
/** A machine that trains says how far it is every half second. */
const SILENT_AFTER_MS = 30_000;
const LONGEST_TEXT = 120;

/** Rules about what trainers say, as they are deployed. */
const RULES = platformAlerts({ flowLogs: false }).filter(({ table }) => table === 'TrainingSecurity');

/** Alerts that the run's own events fire at that moment. */
export function runAlerts({ events, at }: RunSnapshot): readonly FiringAlert[] {
  const rows = events.map((event) => ({ ...event }));
  return RULES.flatMap((rule) => evaluateAlert(rule, rows, at)).sort((a, b) => a.rule.severity - b.rule.severity);
}

/** The view of one run, line by line; every text of others is made harmless. Keeps what it needs to say how long is left. */
export function runView(): (snapshot: RunSnapshot, columns: number) => readonly string[] {
  const timeLeft = leftTimer();
  return (snapshot, columns) => {
    const { runId, status, at } = snapshot;
    const alerts = runAlerts(snapshot).map(
      ({ rule }) => `severity ${rule.severity}: ${rule.title} (docs/runbook.md#${rule.name})`,
    );
    const lines = [
      `${runId}  ${status?.state ?? 'queued'}, ${harmless(status?.step ?? 'waiting for a machine')}${silence(status, at)}`,
      ...progressLines(status, at, timeLeft),
      ...metricLines(snapshot.metrics),
      ...titled('events', snapshot.events.slice(-SHOWN_EVENTS).map(eventText)),
      ...titled('alerts', alerts.length === 0 ? ['none'] : alerts),
      ...(status?.message === undefined ? [] : [harmless(status.message)]),
      ...(status?.failures ?? []).map((failure) => `  ${harmless(failure)}`),
    ];
    return lines.map((line) => [...line].slice(0, columns).join(''));
  };
}

/** `16:02:11 key.released success owner a1b2`. */
export function eventText({ TimeGenerated, Event, Outcome, Detail }: SecurityEvent): string {
  return harmless(`${TimeGenerated.slice(11, 19)} ${Event} ${Outcome} ${Detail}`);
}

/** Newest value of each metric with its course, in the order of their names. */
export function metricLines(points: readonly MetricPoint[]): readonly string[] {
  const names = [...new Set(points.map(({ name }) => name))].sort();
  const width = Math.max(0, ...names.map((name) => name.length));
  return names.map((name) => {
    const values = points
      .filter((point) => point.name === name)
      .sort((a, b) => a.step - b.step)
      .map(({ value }) => value);
    return `  ${name.padEnd(width)}  ${sparkline(values)}  ${(values.at(-1) ?? 0).toFixed(4)}`;
  });
}

/** The course of values as a line of blocks: the mean of each stretch where there are more than fit. */
export function sparkline(values: readonly number[]): string {
  const width = Math.min(SPARK_WIDTH, values.length);
  const means = Array.from({ length: width }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / width), Math.floor(((i + 1) * values.length) / width));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [low, high] = [Math.min(...means), Math.max(...means)];
  return means
    .map((mean) => SPARKS[high === low ? 0 : Math.round(((mean - low) / (high - low)) * (SPARKS.length - 1))])
    .join('');
}

function harmless(text: string): string {
  return printable(text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT - 3)}...` : text);
}

function silence(status: RunStatus | undefined, at: Date): string {
  if (status?.state !== 'running') return '';
  const age = at.getTime() - Date.parse(status.updatedAt);
  return age > SILENT_AFTER_MS ? `, nothing heard for ${Math.round(age / 1000)} s` : '';
}

function progressLines(status: RunStatus | undefined, at: Date, timeLeft: ReturnType<typeof leftTimer>): string[] {
  const progress = status?.progress;
  if (progress === undefined) return [];
  const fraction = Math.min(1, progress.steps === 0 ? 0 : progress.step / progress.steps);
  const full = Math.round(fraction * BAR_WIDTH);
  const left = timeLeft(fraction, at.getTime());
  const bar = `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}`;
  return [
    `  ${bar} ${Math.floor(fraction * 100)} %, ${[progressText(progress), ...(left === undefined ? [] : [left])].join(', ')}`,
  ];
}

function titled(title: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => `${(i === 0 ? title : '').padEnd(8)}${line}`);
}
