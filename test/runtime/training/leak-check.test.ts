import { expect, test } from 'vitest';
import { leakCheck } from '../../../runtime/training/leak-check.ts';

test('what there is after the first step has to be there after each epoch, no more and no less', () => {
  let tensors = 5;
  const leaks = leakCheck(() => tensors);
  leaks.afterEpoch(1);
  tensors = 12;
  leaks.afterStep();
  tensors = 13;
  leaks.afterStep();
  tensors = 12;
  leaks.afterEpoch(1);
  tensors = 13;
  const message = '13 tensors after epoch 2, wanted the 12 of the first step: the trainer keeps some';
  expect(() => leaks.afterEpoch(2)).toThrow(expect.objectContaining({ name: 'TensorLeak', message }));
  tensors = 11;
  expect(() => leaks.afterEpoch(3)).toThrow('11 tensors after epoch 3');
});
