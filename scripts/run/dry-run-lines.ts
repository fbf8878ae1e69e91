import { bytes, count } from '../progress.ts';
import type { DryRun } from './dry-run.ts';

/** A dry run as people read it. */
export function dryRunLines({
  layers,
  memory,
  native,
  batch,
  origin,
  config,
  engine,
  machineBytes,
  run,
}: DryRun): string[] {
  const total = layers.reduce((sum, { parameters }) => sum + parameters, 0);
  const learned = layers.reduce((sum, { trained }) => sum + trained, 0);
  const { epochs } = config.training;
  return [
    ...table([
      ['layer', 'kind', 'output', 'parameters'],
      ...layers.map(({ name, kind, shape, parameters }) => [name, kind, shape.join(' x '), count(parameters)]),
      ['', '', 'total', count(total)],
    ]),
    ...(learned === total ? [] : [`  ${count(total - learned)} of them are not learned`]),
    '',
    ...table([
      ['memory of a run', 'about'],
      ...memory.parts.map(({ name, bytes: size }) => [name, bytes(size)]),
      ['total', bytes(memory.bytes)],
      ['this machine', bytes(machineBytes)],
    ]),
    '',
    ...pairs([
      ['checkpoint', bytes(memory.checkpointBytes)],
      [
        'steps',
        run === undefined
          ? 'not known: the deployment does not run'
          : `${count(run.steps)} (${count(run.stepsPerEpoch)} an epoch of ${count(run.rows)} rows, ${count(epochs)} epochs)`,
      ],
      ['one batch', `${count(batch.rows)} of ${origin}, ${batch.milliseconds.toFixed(1)} ms`],
      ['loss', `${batch.lossBefore.toFixed(4)} before, ${batch.lossAfter.toFixed(4)} after`],
      ['backend here', engine.backend],
      ['native engine', native.covers ? 'covers the model' : `does not cover the model: ${native.reason}`],
    ]),
    '',
    'nothing was sealed, uploaded, signed or started',
  ];
}

/** Columns as wide as their widest cell, the last one to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, at) => (at === row.length - 1 ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join('  ')
      .replace(/^/, '  '),
  );
}

function pairs(rows: readonly (readonly [string, string])[]): string[] {
  return rows.map(([name, value]) => `  ${name.padEnd(14)} ${value}`);
}
