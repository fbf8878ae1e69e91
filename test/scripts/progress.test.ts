import { expect, test } from 'vitest';
import { leftTimer, type StepState } from '../../scripts/progress.ts';
import { showing } from '../../scripts/show-data-progress.ts';

test('time left is told once there is something to go by, and from where a step went on', () => {
  const left = leftTimer();
  expect(left(0.5, 1000)).toBeUndefined();
  expect(left(0.6, 1500)).toBeUndefined();
  expect(left(0.6, 3000)).toBe('8 s left');
  expect(left(0.505, 9000)).toBeUndefined();
  expect(left(1, 9000)).toBeUndefined();
  expect(leftTimerAfter(0.02, 60_000)).toBe('49 min left');
});

function leftTimerAfter(fraction: number, milliseconds: number): string | undefined {
  const left = leftTimer();
  left(0, 0);
  return left(fraction, milliseconds);
}

test('bytes and rows are told with their rate, of what this process did', () => {
  const seen: StepState[] = [];
  let at = 0;
  const show = showing(
    (state) => seen.push(state),
    () => at,
  );
  const of = (done: number) => ({
    step: 'upload' as const,
    name: 'train-000.enc',
    done,
    total: 100e6,
    unit: 'bytes' as const,
  });
  show(of(50e6));
  at = 2000;
  show(of(70e6));
  expect(seen).toEqual([
    { fraction: 0.5, detail: 'train-000.enc, 50.0 MB of 100.0 MB' },
    { fraction: 0.7, detail: 'train-000.enc, 70.0 MB of 100.0 MB, 10.0 MB/s' },
  ]);
  seen.length = 0;
  const rows = showing(
    (state) => seen.push(state),
    () => at,
  );
  rows({ step: 'prepare', name: 'a.npy', done: 0, total: 5000, unit: 'rows' });
  at = 4000;
  rows({ step: 'prepare', name: 'a.npy', done: 3000, total: 5000, unit: 'rows' });
  expect(seen[1]?.detail).toBe('a.npy, 3,000 of 5,000 rows, 1,500 rows/s');
});
