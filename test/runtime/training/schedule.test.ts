import { expect, test } from 'vitest';
import { learningRates, stoppedImproving } from '../../../runtime/training/schedule.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../../runtime/training-config.ts';

const rates = (training: Partial<TrainingConfig['training']>, steps: number) => {
  const sizes = { input_size: 1, hidden_size: 1, output_size: 1, learning_rate: 1 };
  const rate = learningRates(parseTrainingConfig({ training: { ...sizes, ...training } }), steps);
  return rate && Array.from({ length: steps }, (_, step) => Number(rate(step).toFixed(6)));
};

test('a constant rate is no schedule', () => {
  expect(rates({ schedule: 'constant' }, 4)).toBeUndefined();
});

test.each([
  [{ schedule: 'constant', warmup_steps: 2 }, [0.5, 1, 1, 1]],
  [{ schedule: 'cosine' }, [1, 0.853553, 0.5, 0.146447]],
  [{ schedule: 'cosine', warmup_steps: 2 }, [0.5, 1, 1, 0.5]],
  [{ schedule: 'cosine', warmup_steps: 9 }, [0.111111, 0.222222, 0.333333, 0.444444]],
  [{ schedule: 'step', decay_steps: 2 }, [1, 1, 0.1, 0.1]],
  [{ schedule: 'step', decay_steps: 1, decay_factor: 0.5 }, [1, 0.5, 0.25, 0.125]],
] as const)('%j', (training, expected) => {
  expect(rates(training, 4)).toEqual(expected);
});

test.each([
  [[3, 2, 1], 1, false],
  [[3, 2, 2], 1, true],
  [[1, 2, 3], 3, false],
  [[1, 2, 3], 2, true],
  [[1, 2, 0.5], 1, false],
  [[1, 2, 3], 0, false],
  [[], 1, false],
] as const)('validation losses %j, patience %i: stops %s', (losses, patience, stops) => {
  const history = losses.map((value, epoch) => ({ name: 'validation_loss', value, step: epoch, epoch }));
  expect(stoppedImproving(history, patience)).toBe(stops);
});
