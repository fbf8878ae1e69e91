import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { SecureTrainingError } from '../../errors.ts';
import { privacyObstacles, type RowLayer, rowLayerOf } from './row-layers.ts';

/** Gradients of a batch in which no row counts for more than the clipping norm. The caller disposes of the tensors. */
export type ClippedGradients = {
  /** Sum over rows of each row's clipped gradient, in the order of the model's trainable weights. */
  sums: tf.Tensor[];
  /** Sum of the rows' losses, float32. */
  loss: tf.Scalar;
};

/** Loss of each row, `[rows]`, of the batch's labels and the model's output. */
export type RowLoss = (labels: tf.Tensor, output: tf.Tensor) => tf.Tensor;

/** Added to a norm so that a row without a gradient is not divided by zero (Opacus, optimizers/optimizer.py). */
const SMALL = 1e-6;

/**
 * Clips row by row and adds up, without a loop over rows (Abadi et al. 2016, arXiv:1607.00133, algorithm 1): a row's gradient for a
 * kernel is the product of what the kernel was multiplied with and the loss's gradient at the result, and so is its norm.
 * @param ending layers at the end that the loss does without, for example a softmax whose logits it takes
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where {@link privacyObstacles} finds any
 */
export function clippedGradients(
  model: tfl.LayersModel,
  rowLoss: RowLoss,
  clippingNorm: number,
  ending = 0,
): (x: tf.Tensor, labels: tf.Tensor) => ClippedGradients {
  const failures = privacyObstacles(model);
  if (failures.length > 0) {
    const message = `the model cannot be trained with differential privacy: ${failures.join('; ')}`;
    throw new SecureTrainingError('CONFIG_INVALID', message, { failures });
  }
  const layers = model.layers.slice(0, model.layers.length - ending).map(rowLayerOf);
  return (x, labels) => tf.tidy(() => batchGradients(layers, rowLoss, clippingNorm, x, labels));
}

type Weighted = Extract<RowLayer, { weighted: true }>;

/** One layer's part in a batch. */
interface Seen {
  readonly layer: Weighted;
  readonly input: tf.Tensor;
}

function batchGradients(
  layers: readonly RowLayer[],
  rowLoss: RowLoss,
  clippingNorm: number,
  x: tf.Tensor,
  labels: tf.Tensor,
): ClippedGradients {
  const offsets = affineShapes(layers, x).map((shape) => tf.zeros(shape));
  const seen: Seen[] = [];
  let loss: tf.Tensor | undefined;
  // The gradient for a zero that is added to a result is the gradient at that result, for each row.
  const deltas = tf.grads((...zeros: tf.Tensor[]) => {
    let value = x;
    for (const layer of layers) {
      if (!layer.weighted) {
        value = layer.apply(value);
        continue;
      }
      // Kept: the scope that grads runs this in would dispose of them.
      const input = tf.keep(tf.clone(value));
      value = layer.activate(tf.add(layer.affine(value), zeros[seen.length] as tf.Tensor));
      seen.push({ layer, input });
    }
    loss = tf.keep(tf.sum(rowLoss(labels, value)));
    return loss;
  })(offsets);

  const parts = seen.map(({ layer, input }, i) => {
    const operands = layer.operands(input);
    const delta = tf.reshape(deltas[i] as tf.Tensor, [...operands.shape.slice(0, -1), layer.kernel.shape.at(-1) ?? 1]);
    return { layer, operands, delta };
  });
  const norms = tf.sqrt(tf.addN(parts.map(({ layer, operands, delta }) => squaredNorm(layer, operands, delta))));
  const factors = tf.minimum(tf.div(clippingNorm, tf.add(norms, SMALL)), 1);
  const sums = parts.flatMap(({ layer, operands, delta }) => {
    const weights = tf.reshape(factors, [-1, ...delta.shape.slice(1).map(() => 1)]);
    const clipped = flat(tf.mul(delta, weights));
    // Transposed first: the wasm backend multiplies operands that it is to transpose element by element.
    const kernel = tf.reshape(tf.matMul(tf.transpose(flat(operands)), clipped), layer.kernel.shape);
    return layer.bias === undefined ? [kernel] : [kernel, tf.sum(clipped, 0)];
  });
  for (const { input } of seen) input.dispose();
  return { sums, loss: loss as tf.Scalar };
}

/** Squared norm of each row's gradient for one layer's weights, `[rows]`. */
function squaredNorm({ bias }: Weighted, operands: tf.Tensor, delta: tf.Tensor): tf.Tensor {
  if (operands.rank === 2) {
    // Of an outer product the norm is the product of the norms; the bias counts as an operand that is always one.
    const inputs = tf.add(tf.sum(tf.square(operands), 1), bias === undefined ? 0 : 1);
    return tf.mul(inputs, tf.sum(tf.square(delta), 1));
  }
  const kernel = tf.matMul(tf.transpose(operands, [0, 2, 1]), delta);
  const norm = tf.sum(tf.square(kernel), [1, 2]);
  return bias === undefined ? norm : tf.add(norm, tf.sum(tf.square(tf.sum(delta, 1)), 1));
}

function affineShapes(layers: readonly RowLayer[], x: tf.Tensor): number[][] {
  return tf.tidy(() => {
    const shapes: number[][] = [];
    let value = x;
    for (const layer of layers) {
      if (!layer.weighted) value = layer.apply(value);
      else {
        const result = layer.affine(value);
        shapes.push(result.shape);
        value = layer.activate(result);
      }
    }
    return shapes;
  });
}

function flat(tensor: tf.Tensor): tf.Tensor2D {
  return tf.reshape(tensor, [-1, tensor.shape.at(-1) ?? 1]);
}
