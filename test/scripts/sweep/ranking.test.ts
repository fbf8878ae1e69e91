import { expect, test } from 'vitest';
import { checkMetric, ranked, rankingLines } from '../../../scripts/sweep/ranking.ts';

const trial = (seed: number, loss: number, accuracy: number) => ({
  set: { 'training.seed': String(seed) },
  folder: `models/${seed}`,
  metrics: { validation_loss: loss, validation_accuracy: accuracy },
});
const failed = { set: { 'training.seed': '9' }, error: 'loss is not finite' };
const trials = [trial(1, 0.5, 0.7), failed, trial(2, 0.25, 0.6), trial(3, 0.75, 0.9)];
const order = (metric: string) => ranked(trials, metric).map(({ set }) => set['training.seed']);

test('a loss is better when lower, an accuracy when higher, and what failed is last', () => {
  expect(order('validation_loss')).toEqual(['2', '1', '3', '9']);
  expect(order('validation_accuracy')).toEqual(['3', '1', '2', '9']);
});

test('a table, best first', () => {
  expect(rankingLines(trials, 'validation_loss')).toEqual([
    'seed  validation_loss  validation_accuracy  model',
    '2              0.2500               0.6000  models/2',
    '1              0.5000               0.7000  models/1',
    '3              0.7500               0.9000  models/3',
    '9                   -                    -  failed: loss is not finite',
  ]);
});

test('a metric that no run has is refused with those there are', () => {
  const message = '--metric: found validation_f1, the runs have validation_loss, validation_accuracy';
  expect(() => order('validation_f1')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});

test('the test split is not for choosing', () => {
  expect(checkMetric('validation_accuracy')).toBe('validation_accuracy');
  const message = expect.stringContaining('what is chosen by the test split is not tested by it');
  expect(() => checkMetric('test_loss')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});
