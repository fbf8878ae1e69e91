import type { RunRecord } from './run-record.ts';

/** One thing that two runs have, or one of them. */
interface ComparedValue {
  readonly name: string;
  readonly a: unknown;
  readonly b: unknown;
}

export interface RunComparison {
  readonly a: RunRecord;
  readonly b: RunRecord;
  /** Fields of the configuration, and the data, that are not the same. */
  readonly differences: readonly ComparedValue[];
  /** All metrics that either has. */
  readonly metrics: readonly ComparedValue[];
}

/** Digits after the point of a difference: metrics are let out with as many. */
const DIGITS = 4;

/** Shown short. */
const DIGEST = /^[0-9a-f]{64}$/;

export function compareRuns(a: RunRecord, b: RunRecord): RunComparison {
  const fields = [
    ...compared(a.configuration.training, b.configuration.training, 'training.'),
    { name: 'data', a: a.data.join(', '), b: b.data.join(', ') },
  ];
  return {
    a,
    b,
    differences: fields.filter((field) => JSON.stringify(field.a) !== JSON.stringify(field.b)),
    metrics: compared(a.metrics, b.metrics, ''),
  };
}

/** A table of three or four columns. */
export function comparisonLines({ a, b, differences, metrics }: RunComparison): string[] {
  const rows = [
    ['', a.runId, b.runId, ''],
    ['kind', a.kind, b.kind, ''],
    ['state', a.state, b.state, ''],
    ['seconds', text(a.seconds), text(b.seconds), difference(a.seconds, b.seconds)],
    ...differences.map((each) => [each.name, text(each.a), text(each.b), '']),
    ...metrics.map((each) => [each.name, text(each.a), text(each.b), difference(each.a, each.b)]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return differences.length > 0 ? lines : [...lines, 'configuration and data are the same'];
}

function compared(a: object, b: object, prefix: string): ComparedValue[] {
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return [...new Set([...left.keys(), ...right.keys()])].map((name) => ({
    name: `${prefix}${name}`,
    a: left.get(name),
    b: right.get(name),
  }));
}

function text(value: unknown): string {
  if (value === undefined) return '-';
  if (typeof value !== 'string') return JSON.stringify(value);
  return DIGEST.test(value) ? value.slice(0, 12) : value;
}

function difference(a: unknown, b: unknown): string {
  if (typeof a !== 'number' || typeof b !== 'number') return '';
  const rounded = Number((b - a).toFixed(DIGITS));
  return rounded > 0 ? `+${rounded}` : String(rounded);
}
