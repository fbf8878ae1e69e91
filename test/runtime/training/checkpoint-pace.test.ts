import { expect, test } from 'vitest';
import { checkpointPace } from '../../../runtime/training/checkpoint-pace.ts';

test('every so many steps, whatever the time', () => {
  const { due } = checkpointPace(10, () => 0);
  expect([1, 9, 10, 11, 20].filter(due)).toEqual([10, 20]);
});

test('by time: five seconds, or four hundred times what the last one took', async () => {
  let now = 0;
  const { due, take } = checkpointPace(0, () => now);
  const dueAt = (at: number) => {
    now = at;
    return due(1);
  };
  expect([dueAt(4999), dueAt(5000)]).toEqual([false, true]);
  await take(async () => {
    now += 30;
  });
  expect([dueAt(5030 + 11_999), dueAt(5030 + 12_000)]).toEqual([false, true]);
  await take(async () => undefined);
  expect([dueAt(17_030 + 4999), dueAt(17_030 + 5000)]).toEqual([false, true]);
});
