import { SecureTrainingError } from '../../runtime/errors.ts';
import type { Trial } from './trials.ts';

/** By what trials are ranked when nobody says. */
export const DEFAULT_METRIC = 'validation_loss';

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for a metric of the test split: chosen by, it would test nothing any more */
export function checkMetric(metric: string): string {
  if (metric.startsWith('test_')) {
    const message = `--metric: found ${metric}: what is chosen by the test split is not tested by it; wanted one of validation, such as ${DEFAULT_METRIC}`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  return metric;
}

/**
 * Best first, failed ones last. A loss or an error is better when it is lower, anything else when it is higher.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where no trial has the metric
 */
export function ranked(trials: readonly Trial[], metric: string): Trial[] {
  const finished = trials.filter(({ metrics }) => metrics !== undefined);
  const known = new Set(finished.flatMap(({ metrics = {} }) => Object.keys(metrics)));
  if (finished.length > 0 && !known.has(metric)) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `--metric: found ${metric}, the runs have ${[...known].join(', ')}`,
    );
  }
  const sign = /(?:loss|error)$/.test(metric) ? 1 : -1;
  const worst = Number.POSITIVE_INFINITY;
  const order = (trial: Trial) => {
    const value = trial.metrics?.[metric];
    return value === undefined ? worst : sign * value;
  };
  // Infinity less Infinity is no order.
  return [...trials].sort((a, b) => (order(a) === order(b) ? 0 : order(a) - order(b)));
}

/** A table, best first: what each trial changed, the metric, the accuracy beside it, and where its model is. */
export function rankingLines(trials: readonly Trial[], metric: string): string[] {
  const best = ranked(trials, metric);
  const fields = Object.keys(best[0]?.set ?? {});
  const others = ['validation_accuracy'].filter(
    (name) => name !== metric && best.some(({ metrics }) => metrics?.[name] !== undefined),
  );
  const header = [...fields.map((field) => field.replace(/^training\./, '')), metric, ...others, 'model'];
  const rows = best.map(({ set, metrics, folder, error }) => [
    ...fields.map((field) => set[field] ?? ''),
    ...[metric, ...others].map((name) => metrics?.[name]?.toFixed(4) ?? '-'),
    folder ?? `failed: ${error ?? 'not tried yet'}`,
  ]);
  const last = header.length - 1;
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i]?.length ?? 0)));
  return [header, ...rows].map((row) =>
    row
      .map((cell, i) =>
        i === last ? cell : i < fields.length ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0),
      )
      .join('  '),
  );
}
