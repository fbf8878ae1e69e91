import type { OnDataProgress } from '../runtime/data/progress.ts';
import { bytes, count, type StepState } from './progress.ts';

/** Before that a rate would be a guess. */
const LEAST_ELAPSED_MS = 1000;

/** Shows how far a step over data is, in the words of the reporter, and how fast it goes. */
export function showing(show: (state: StepState) => void, now: () => number = () => performance.now()): OnDataProgress {
  let first: { readonly done: number; readonly at: number } | undefined;
  return ({ name, done, total, unit }) => {
    const at = now();
    // Of what this process did: what was there already took no time.
    first ??= { done, at };
    const written = unit === 'bytes' ? bytes : (value: number) => `${count(Math.round(value))} ${unit}`;
    const how = unit === 'bytes' ? bytes(done) : count(done);
    const elapsed = at - first.at;
    const rate = elapsed < LEAST_ELAPSED_MS ? '' : `, ${written(((done - first.done) / elapsed) * 1000)}/s`;
    show({ fraction: total === 0 ? 1 : done / total, detail: `${name}, ${how} of ${written(total)}${rate}` });
  };
}
