import { expect, test } from 'vitest';
import { lastMetrics } from '../../../runtime/training/best-weights.ts';
import { stepBudget, timeBudget } from '../../../runtime/training/budget.ts';
import { withStepRandom } from '../../../runtime/training/step-random.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';

const config = (change: object) =>
  parseTrainingConfig({ training: { input_size: 1, output_size: 2, hidden_size: 1, batch_size: 10, ...change } });

test('minutes before a resume count', () => {
  let now = 5000;
  const budget = timeBudget(config({ max_minutes: 3 }), 1.5, () => now);
  now += 60_000;
  expect([budget.spent(), budget.over()]).toEqual([2.5, false]);
  now += 30_000;
  expect(budget.over()).toBe(true);
  expect(timeBudget(config({}), 9, () => now).spent()).toBeUndefined();
});

test.each([
  [0, 9],
  [4, 4],
  [99, 9],
])('max_steps %i of 9 steps: %i', (max_steps, steps) => {
  expect(stepBudget(config({ max_steps, epochs: 3 }), 25)).toBe(steps);
});

test('chance is a function of seed and step, and as before afterwards', () => {
  const { random } = Math;
  const drawn = (seed: number, step: number) => {
    let value = Number.NaN;
    withStepRandom(seed, step, () => {
      value = Math.random();
    });
    return value;
  };
  expect(drawn(1, 2)).toBe(drawn(1, 2));
  expect(new Set([drawn(1, 2), drawn(1, 3), drawn(2, 2)]).size).toBe(3);
  expect(Math.random).toBe(random);
});

test('metrics of the best validation go with its weights', () => {
  const history = [0.5, 0.2, 0.4].map((value, step) => ({ name: 'validation_loss', value, step, epoch: step + 1 }));
  expect(lastMetrics(history, true)).toEqual({ validation_loss: 0.2 });
  expect(lastMetrics(history, false)).toEqual({ validation_loss: 0.4 });
});
