import { fullTraining, type TrainingConfig } from '../training-config.ts';
import type { Metric } from './frames.ts';

/**
 * The learning rate as a function of the step, so that a checkpoint needs nothing of it.
 * @param steps of the whole run, were it not stopped early
 * @returns `undefined` where it is the same for all steps
 */
export function learningRates(config: TrainingConfig, steps: number): ((step: number) => number) | undefined {
  const { learning_rate, schedule, warmup_steps, decay_steps, decay_factor } = fullTraining(config);
  if (schedule === 'constant' && warmup_steps === 0) return undefined;
  return (step) => {
    if (step < warmup_steps) return (learning_rate * (step + 1)) / warmup_steps;
    const since = step - warmup_steps;
    if (schedule === 'step') return learning_rate * decay_factor ** Math.floor(since / decay_steps);
    // SGDR without restarts (Loshchilov and Hutter 2017, equation 5).
    if (schedule === 'cosine') return (learning_rate * (1 + Math.cos((Math.PI * since) / (steps - warmup_steps)))) / 2;
    return learning_rate;
  };
}

/** Whether the validation loss has not fallen below its best for `patience` epochs: a function of the metrics so far alone. */
export function stoppedImproving(history: readonly Metric[], patience: number): boolean {
  if (patience === 0) return false;
  const losses = history.filter(({ name }) => name === 'validation_loss').map(({ value }) => value);
  return losses.length - 1 - losses.indexOf(Math.min(...losses)) >= patience;
}
