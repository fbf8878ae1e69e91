import type { OnDataProgress } from '../runtime/data/progress.ts';
import { bytes, count, type StepState } from './progress.ts';

/** Shows how far a step over data is, in the words of the reporter. */
export function showing(show: (state: StepState) => void): OnDataProgress {
  return ({ name, done, total, unit }) => {
    const text = unit === 'bytes' ? `${bytes(done)} of ${bytes(total)}` : `${count(done)} of ${count(total)} ${unit}`;
    show({ fraction: total === 0 ? 1 : done / total, detail: `${name}, ${text}` });
  };
}
