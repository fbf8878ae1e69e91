import type { TrainingConfig } from '../training-config.ts';

const MINUTE_MS = 60_000;

/** How long a run may train, over all its resumes. */
export interface TimeBudget {
  /** Minutes spent so far, those before a resume too; `undefined` where none are counted, so that checkpoints keep their bytes. */
  spent(): number | undefined;
  over(): boolean;
}

/**
 * @param before minutes that a checkpoint says were spent
 * @param clock milliseconds that never go back
 */
export function timeBudget({ training }: TrainingConfig, before: number, clock: () => number): TimeBudget {
  const { max_minutes = 0 } = training;
  if (max_minutes === 0) return { spent: () => undefined, over: () => false };
  const start = clock();
  const spent = () => before + (clock() - start) / MINUTE_MS;
  return { spent, over: () => spent() >= max_minutes };
}

/** Steps of the whole run, were nothing else to end it. */
export function stepBudget({ training }: TrainingConfig, rows: number): number {
  const steps = training.epochs * Math.ceil(rows / training.batch_size);
  const { max_steps = 0 } = training;
  return max_steps === 0 ? steps : Math.min(steps, max_steps);
}
