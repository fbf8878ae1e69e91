import { expect, test } from 'vitest';
import { noiseFor, spentPrivacy } from '../../../../runtime/training/privacy/accountant.ts';
import {
  privacyFailures,
  privacyOf,
  privacyTerms,
  stepsWithinBudget,
} from '../../../../runtime/training/privacy/terms.ts';
import { parseTrainingConfig } from '../../../../runtime/training-config.ts';

const config = (training: object) =>
  parseTrainingConfig({ training: { input_size: 4, hidden_size: 4, output_size: 2, batch_size: 256, ...training } });
const ROWS = 60_000;

test('without noise there is nothing to keep', () => {
  expect(privacyTerms(config({}))).toBeUndefined();
  expect(privacyOf(config({}), ROWS, 10)).toBeUndefined();
  expect(stepsWithinBudget(config({}), ROWS, 10)).toBe(10);
  expect(privacyFailures(config({}), 3)).toEqual([]);
});

test('what is spent is what the accountant says of the expected batch', () => {
  const spent = privacyOf(config({ privacy_noise: 1.1 }), ROWS, 14_000);
  const phase = { noiseMultiplier: 1.1, sampleRate: 256 / ROWS, steps: 14_000 };
  expect(spent).toEqual(spentPrivacy([phase], 1e-5));
  expect(spent?.epsilon).toBeGreaterThan(2);
});

test('a budget has room for the last step that fits, and not for one more', () => {
  const noise = noiseFor({ epsilon: 2, delta: 1e-5, sampleRate: 256 / ROWS, steps: 1000 });
  const limited = config({ privacy_noise: noise, privacy_budget: 2 });
  const steps = stepsWithinBudget(limited, ROWS, 100_000);
  expect(privacyOf(limited, ROWS, steps)?.epsilon).toBeLessThanOrEqual(2);
  expect(privacyOf(limited, ROWS, steps + 1)?.epsilon).toBeGreaterThan(2);
  expect(stepsWithinBudget(limited, ROWS, 7)).toBe(7);
});

test.each([
  [{}, ROWS, []],
  [{}, 100, [expect.stringContaining('batch_size is 256, with privacy wanted at most the 100 rows')]],
  [{ privacy_delta: 0.001 }, 1000, [expect.stringContaining('privacy_delta is 0.001, wanted below 1/rows, 0.0010')]],
  [{ privacy_budget: 0.001 }, ROWS, [expect.stringContaining('privacy_budget is 0.001, less than one step takes')]],
])('%j over %i rows', (training, rows, failures) => {
  expect(privacyFailures(config({ privacy_noise: 1, ...training }), rows)).toEqual(failures);
});
