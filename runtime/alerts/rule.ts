import { TABLES, type TableName } from '../catalogue.ts';
import { type Column, type Condition, columnKql, conditionKql, matches, type Row, textOf } from './condition.ts';

/** The trainers' tables, and Azure's own (learn.microsoft.com/azure/azure-monitor/reference/tables). */
export type LogTable =
  | TableName
  | 'AZKVAuditLogs'
  | 'AzureAttestationDiagnostics'
  | 'StorageBlobLogs'
  | 'NTANetAnalytics'
  | 'AzureActivity';

/** Azure's severities: 0 critical, 1 error, 2 warning, 3 informational. */
export type Severity = 0 | 1 | 2 | 3;

/**
 * What should wake somebody: data, so that one definition is compiled for Azure and evaluated here. What it means and what to do
 * stands in docs/runbook.md under its name.
 */
export interface AlertRule {
  /** Lower case with hyphens. */
  readonly name: string;
  /** What happened, as a headline. */
  readonly title: string;
  readonly severity: Severity;
  readonly table: LogTable;
  readonly where: Condition;
  readonly measure: Measure;
  /** How far back rows count, by when they arrived: logs come late, most within five minutes, some after fifteen. */
  readonly windowMinutes: number;
  readonly everyMinutes: 1 | 5 | 15;
  /** By what rows are told apart: each combination fires by itself. */
  readonly dimensions: Readonly<Record<string, Column>>;
}

export type Measure =
  /** More rows than this. */
  | { readonly kind: 'count'; readonly above: number }
  /** Something was heard, not the last word (`endedBy`), and then nothing for so long. */
  | { readonly kind: 'silence'; readonly minutes: number; readonly endedBy: Condition };

export interface FiringAlert {
  readonly rule: AlertRule;
  readonly dimensions: Readonly<Record<string, string>>;
  /** Rows, or minutes of silence. */
  readonly value: number;
  /** First and last row that it rests on. */
  readonly from: Date;
  readonly to: Date;
}

/** The rule as a query that has a row for each alert; it wants two days as its time range and sets its window itself. */
export function alertKql({ table, where, measure, windowMinutes, dimensions }: AlertRule): string {
  const name = Object.hasOwn(TABLES, table) ? `${table}_CL` : table;
  const by = Object.entries(dimensions)
    .map(([dimension, column]) => `${dimension} = ${columnKql(column)}`)
    .join(', ');
  const rows = `${name}\n| where ingestion_time() > ago(${windowMinutes}m)\n| where ${conditionKql(where)}`;
  const names = Object.keys(dimensions).join(', ');
  if (measure.kind === 'count') {
    return `${rows}\n| summarize Value = count() by ${by}\n| where Value > ${measure.above}`;
  }
  return `${rows}
| summarize Last = max(TimeGenerated), Ended = countif(${conditionKql(measure.endedBy)}) by ${by}
| where Ended == 0 and Last < ago(${measure.minutes}m)
| project ${names}, Value = toreal(datetime_diff("minute", now(), Last))`;
}

/** What fires on these rows at a time: {@link alertKql} without its engine. A row without a time that can be read does not count. */
export function evaluateAlert(rule: AlertRule, rows: readonly Row[], now: Date): readonly FiringAlert[] {
  const { where, measure, windowMinutes, dimensions } = rule;
  const groups = new Map<string, { dimensions: Record<string, string>; rows: Row[]; times: number[] }>();
  for (const row of rows) {
    const time = Date.parse(textOf(row, 'TimeGenerated'));
    if (!(time > now.getTime() - windowMinutes * 60_000 && matches(where, row))) continue;
    const values = Object.fromEntries(Object.entries(dimensions).map(([name, column]) => [name, textOf(row, column)]));
    const key = JSON.stringify(Object.values(values));
    const group = groups.get(key) ?? { dimensions: values, rows: [], times: [] };
    group.rows.push(row);
    group.times.push(time);
    groups.set(key, group);
  }
  return [...groups]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .flatMap(([, { dimensions, rows, times }]) => {
      const [first, last] = [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
      const value = measured(measure, rows, (now.getTime() - last) / 60_000);
      return value === undefined ? [] : [{ rule, dimensions, value, from: new Date(first), to: new Date(last) }];
    });
}

function measured(measure: Measure, rows: readonly Row[], silent: number): number | undefined {
  if (measure.kind === 'count') return rows.length > measure.above ? rows.length : undefined;
  const ended = rows.some((row) => matches(measure.endedBy, row));
  return !ended && silent > measure.minutes ? Math.floor(silent) : undefined;
}
