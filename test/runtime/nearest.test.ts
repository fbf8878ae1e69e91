import { expect, test } from 'vitest';
import { nearest } from '../../runtime/nearest.ts';

test.each([
  ['epoch', 'epochs'],
  ['Batch-Size', 'batch_size'],
  ['learnrate', 'learning_rate'],
])('%s is nearest to %s', (word, wanted) => {
  expect(nearest(word, ['epochs', 'batch_size', 'learning_rate', 'seed'])).toBe(wanted);
});

test('knows nothing where there is nothing', () => {
  expect(nearest('epochs', [])).toBe('');
});
