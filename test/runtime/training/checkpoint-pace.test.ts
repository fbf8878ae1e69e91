import { expect, test } from 'vitest';
import { checkpointPace } from '../../../runtime/training/checkpoint-pace.ts';

test('every so many steps, whatever the time', () => {
  const { due } = checkpointPace(10, () => 0);
  expect([1, 9, 10, 11, 20].filter(due)).toEqual([10, 20]);
});

test('by time: two seconds, or two hundred times what the last one took', async () => {
  let now = 0;
  const { due, take } = checkpointPace(0, () => now);
  const dueAt = (at: number) => {
    now = at;
    return due(1);
  };
  expect([dueAt(1999), dueAt(2000)]).toEqual([false, true]);
  await take(async () => {
    now += 30;
  });
  expect([dueAt(2030 + 5999), dueAt(2030 + 6000)]).toEqual([false, true]);
  await take(async () => undefined);
  expect([dueAt(8030 + 1999), dueAt(8030 + 2000)]).toEqual([false, true]);
});
