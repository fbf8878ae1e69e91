import { expect, test } from 'vitest';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { compareRuns, comparisonLines } from '../../../scripts/run/compare-runs.ts';
import type { RunRecord } from '../../../scripts/run/run-record.ts';

const configuration = parseTrainingConfig({ training: { input_size: 4, hidden_size: 8, output_size: 2 } });
const a: RunRecord = {
  runId: 'run-a',
  kind: 'emulated',
  state: 'finished',
  seconds: 6.5,
  configuration,
  data: ['flowers 1 abcdef'],
  metrics: { loss: 0.25, test_accuracy: 0.9 },
};
const b: RunRecord = {
  ...a,
  runId: 'run-b',
  kind: 'plain',
  seconds: 2,
  configuration: { training: { ...configuration.training, epochs: 9, initial_weights: 'ab'.repeat(32) } },
  metrics: { loss: 0.5 },
};

test('what differs, all metrics, and by how much', () => {
  expect(comparisonLines(compareRuns(a, b))).toEqual([
    '                          run-a     run-b',
    'kind                      emulated  plain',
    'state                     finished  finished',
    'seconds                   6.5       2             -4.5',
    'training.epochs           5         9',
    'training.initial_weights  -         abababababab',
    'loss                      0.25      0.5           +0.25',
    'test_accuracy             0.9       -',
  ]);
});

test('nothing differs, and a run that lasts has no duration', () => {
  const { seconds: _, ...lasting } = a;
  const lines = comparisonLines(compareRuns({ ...lasting, state: 'running' }, a));
  expect(lines).toContain('seconds        -         6.5');
  expect(lines.at(-1)).toBe('configuration and data are the same');
});
