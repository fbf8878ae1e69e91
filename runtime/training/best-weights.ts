import type { Metric } from './frames.ts';

const LOSS = 'validation_loss';

/** Whether the last validation has the lowest loss so far; of equals, the first. */
export function isBest(history: readonly Metric[]): boolean {
  const losses = history.filter(({ name }) => name === LOSS).map(({ value }) => value);
  return losses.length > 0 && losses.indexOf(Math.min(...losses)) === losses.length - 1;
}

/**
 * What a run ends with: of each name the last value.
 * @param best whether the model is that of the best validation, whose values then count
 */
export function lastMetrics(history: readonly Metric[], best: boolean): Record<string, number> {
  const lowest = Math.min(...history.filter(({ name }) => name === LOSS).map(({ value }) => value));
  const at = history.find(({ name, value }) => name === LOSS && value === lowest)?.step;
  const metrics: Record<string, number> = {};
  for (const { name, value, step } of history) {
    if (!best || !name.startsWith('validation_') || step === at) metrics[name] = value;
  }
  return metrics;
}
