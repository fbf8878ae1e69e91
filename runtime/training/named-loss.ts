import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { LossName } from './model-definition.ts';

/** Mean losses of labels that have the outputs' shape, as tfjs computes them. */
const STOCK: Readonly<Record<LossName, (labels: tf.Tensor, outputs: tf.Tensor) => tf.Tensor>> = {
  softmaxCrossEntropy: (labels, outputs) => tf.losses.softmaxCrossEntropy(labels, outputs),
  sigmoidCrossEntropy: (labels, outputs) => tf.losses.sigmoidCrossEntropy(labels, outputs),
  meanSquaredError: (labels, outputs) => tf.losses.meanSquaredError(labels, outputs),
  categoricalCrossentropy: (labels, outputs) => tf.mean(tfl.metrics.categoricalCrossentropy(labels, outputs)),
  binaryCrossentropy: (labels, outputs) => tf.mean(tfl.metrics.binaryCrossentropy(labels, outputs)),
};

/** From which output on a single one says class 1. */
const THRESHOLDS: Readonly<Partial<Record<LossName, number>>> = { sigmoidCrossEntropy: 0 };
const THRESHOLD = 0.5;

/** Mean loss of a batch, whose labels are one a row or have the outputs' shape already. */
export function namedLoss(name: LossName, labels: tf.Tensor, outputs: tf.Tensor): tf.Tensor {
  return STOCK[name](shaped(labels, outputs), outputs);
}

const ROWS: Readonly<Partial<Record<LossName, (labels: tf.Tensor, outputs: tf.Tensor) => tf.Tensor>>> = {
  softmaxCrossEntropy: (labels, outputs) =>
    tf.losses.softmaxCrossEntropy(labels, outputs, undefined, undefined, tf.Reduction.NONE),
  meanSquaredError: (labels, outputs) => tf.mean(tf.squaredDifference(labels, outputs), -1),
};

/** Loss of each row, `[rows]`; `undefined` for a name that nobody wrote it for. */
export function rowLossOf(name: LossName): ((labels: tf.Tensor, outputs: tf.Tensor) => tf.Tensor) | undefined {
  const rows = ROWS[name];
  return rows && ((labels, outputs) => rows(shaped(labels, outputs), outputs));
}

/** The class that each row's outputs say: the largest, or the side on which a single one is. */
export function namedClass(name: LossName, outputs: tf.Tensor): tf.Tensor {
  if (outputs.shape[1] !== 1) return tf.argMax(outputs, -1);
  return tf.cast(tf.greater(tf.reshape(outputs, [-1]), THRESHOLDS[name] ?? THRESHOLD), 'int32');
}

/** How often that is the label's. */
export function namedAccuracy(name: LossName, labels: tf.Tensor, outputs: tf.Tensor): tf.Tensor {
  return tf.mean(tf.cast(tf.equal(namedClass(name, outputs), tf.cast(labels, 'int32')), 'float32'));
}

function shaped(labels: tf.Tensor, outputs: tf.Tensor): tf.Tensor {
  const width = outputs.shape[1] ?? 1;
  if (labels.rank === outputs.rank) return tf.cast(labels, 'float32');
  if (width === 1) return tf.cast(tf.reshape(labels, [-1, 1]), 'float32');
  if (labels.dtype !== 'int32') throw new RangeError(`labels are one value a row, the model has ${width} outputs`);
  return tf.oneHot(labels as tf.Tensor1D, width);
}
