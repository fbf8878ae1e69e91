import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import type { LossName } from '../../../runtime/training/model-definition.ts';
import { namedAccuracy, namedLoss } from '../../../runtime/training/named-loss.ts';
import { startWasm } from './native/setup.ts';

// Before the tables below, whose rows are tensors.
await startWasm();

const scalar = (value: tf.Tensor) => value.dataSync()[0] ?? Number.NaN;
const classes = (...values: number[]) => tf.tensor1d(values, 'int32');

// Expected values by hand: entropy is -ln of the probability that the label got.
test.each<[LossName, tf.Tensor1D, number[][], number, number]>([
  [
    'softmaxCrossEntropy',
    classes(0, 1),
    [
      [0, 0],
      [0, Math.log(3)],
    ],
    (Math.log(2) + Math.log(4 / 3)) / 2,
    1,
  ],
  [
    'categoricalCrossentropy',
    classes(0, 0),
    [
      [0.5, 0.5],
      [0.25, 0.75],
    ],
    (Math.log(2) + Math.log(4)) / 2,
    0.5,
  ],
  ['sigmoidCrossEntropy', classes(0, 1), [[0], [Math.log(3)]], (Math.log(2) + Math.log(4 / 3)) / 2, 1],
  ['binaryCrossentropy', classes(0, 1), [[0.75], [0.75]], (Math.log(4) + Math.log(4 / 3)) / 2, 0.5],
  ['meanSquaredError', tf.tensor1d([1, 2]), [[1.5], [4]], (0.25 + 4) / 2, Number.NaN],
  [
    'meanSquaredError',
    classes(0, 1),
    [
      [0, 0],
      [0, 1],
    ],
    0.25,
    1,
  ],
])('%s of %s', (name, labels, rows, loss, accuracy) => {
  const outputs = tf.tensor2d(rows);
  expect(scalar(namedLoss(name, labels, outputs))).toBeCloseTo(loss, 5);
  if (labels.dtype === 'int32') expect(scalar(namedAccuracy(name, labels, outputs))).toBeCloseTo(accuracy, 5);
});

test('values have one output', () => {
  expect(() => namedLoss('meanSquaredError', tf.tensor1d([1]), tf.tensor2d([[1, 2]]))).toThrow(
    'labels are one value a row, the model has 2 outputs',
  );
});
