import { expect, test } from 'vitest';
import { requireFit } from '../../../runtime/open-datasets.ts';
import { memoryNeed, requireMemory, withoutRows } from '../../../runtime/training/memory.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../../runtime/training-config.ts';

const GB = 1e9;
const config = (training: Partial<TrainingConfig['training']> = {}) =>
  parseTrainingConfig({ training: { input_size: 784, hidden_size: 512, output_size: 10, ...training } });
const digits = (training: Partial<TrainingConfig['training']> = {}) => ({
  config: config(training),
  schema: { featureCount: 784, dtype: 'uint8' as const },
  shards: { train: [8192, 8192, 8192], validation: [512], test: [1000] },
});

test('digits fit into a small machine, and their checkpoint is three times the weights', () => {
  const need = requireMemory(digits(), GB);
  expect(need.checkpointBytes).toBe(3 * 4 * (785 * 512 + 513 * 10));
  expect(need.parts.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(need.bytes);
  expect(memoryNeed(digits({ optimizer: 'sgd' })).checkpointBytes).toBe(need.checkpointBytes / 3);
  expect(memoryNeed(digits({ optimizer: 'sgd', keep: 'best' })).checkpointBytes).toBe((need.checkpointBytes * 2) / 3);
  expect(memoryNeed(digits({ optimizer: 'sgd', momentum: 0.9 })).checkpointBytes).toBe((need.checkpointBytes * 2) / 3);
});

test('no more rows are shuffled than there are', () => {
  const shuffling = (shuffle_rows: number) => memoryNeed(digits({ shuffle_rows })).bytes;
  expect(shuffling(10_000_000)).toBe(shuffling(24_576));
  expect(shuffling(24_576)).toBeGreaterThan(shuffling(8192));
  expect(shuffling(1)).toBe(shuffling(8192));
});

const wide = { schema: { featureCount: 784, dtype: 'float32' as const }, shards: { train: Array(1300).fill(8192) } };

test.each([
  [
    'batch of 65,536 and as many hidden units',
    withoutRows(config({ batch_size: 65_536, hidden_size: 65_536 })),
    24 * GB,
    'this run needs about 73.2 GB of memory (batch 69.6 GB), the machine has 21.6 GB for it: lower training.batch_size',
  ],
  [
    '10M shuffled rows that are wide',
    { ...wide, config: config({ shuffle_rows: 10_000_000 }) },
    24 * GB,
    'this run needs about 63.4 GB of memory (shuffle buffer 62.9 GB), the machine has 21.6 GB for it: lower training.shuffle_rows',
  ],
  [
    'tensors beyond what wasm can hold',
    { ...digits({ batch_size: 65_536, hidden_size: 8192 }), backend: 'wasm' },
    64 * GB,
    'this run needs about 9.5 GB for tensors, the wasm backend has 4.3 GB: lower training.batch_size',
  ],
  [
    'a checkpoint that no run can keep',
    digits({ hidden_size: 65_536 }),
    64 * GB,
    'a checkpoint of this model takes 626 MB (weights and optimizer), a run keeps at most 537 MB: lower training.hidden_size',
  ],
])('one line for %s', (_, question, machine, message) => {
  expect(() => requireMemory(question, machine)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message, failures: [message] }),
  );
});

test('what no machine could keep is refused where it is agreed on', () => {
  const schema = {
    featureCount: 784,
    dtype: 'uint8' as const,
    label: 'label',
    columns: Array.from({ length: 784 }, (_, i) => `p${i}`),
    classes: Array.from({ length: 10 }, (_, i) => String(i)),
    normalisation: { kind: 'none' as const },
  };
  expect(() => requireFit(schema, config())).not.toThrow();
  expect(() => requireFit(schema, config({ hidden_size: 65_536 }))).toThrow('lower training.hidden_size');
  expect(() => requireFit(schema, config({ hidden_size: 65_536, model: './model.ts' }))).not.toThrow();
});
