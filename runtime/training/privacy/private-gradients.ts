import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import type { Batch } from '../engine.ts';
import { clippedGradients, type RowLoss } from './clipped-gradients.ts';
import { fillWithNoise } from './noise.ts';
import type { PrivacyTerms } from './terms.ts';

/** Rows whose gradients are held at once: a convolution's take as many floats as its kernel, each. */
const CHUNK_ROWS = 128;

export interface PrivateGradientsOptions {
  readonly model: tfl.LayersModel;
  readonly rowLoss: RowLoss;
  /** Layers at the end that the loss does without. */
  readonly ending: number;
  readonly terms: PrivacyTerms;
  /** Rows of a batch that are expected; never those it happens to have, which would tell of the rows. */
  readonly expectedRows: number;
  inputs(batch: Batch): { readonly x: tf.Tensor; readonly y: tf.Tensor };
}

/** Gradients of one step, in the order of the model's trainable weights, and the mean loss of its rows: none of an empty batch. */
export interface PrivateStep {
  readonly gradients: tf.Tensor[];
  readonly loss: number | undefined;
}

/**
 * One step of DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1): each row's gradient is clipped, noise is added to their sum once,
 * and the sum is divided by the size of batch that is expected. A batch without a row is a step of noise alone. The noise is made in the
 * step itself: a confined worker may start no thread that could make it ahead.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the layers that mix rows
 */
export function privateGradients(options: PrivateGradientsOptions): (batch: Batch) => PrivateStep {
  const { model, rowLoss, ending, terms, expectedRows, inputs } = options;
  const clipped = clippedGradients(model, rowLoss, terms.clipNorm, ending);
  const shapes = model.trainableWeights.map((weight) => (weight.read() as tf.Variable).shape);
  const width = (batch: Batch) => (batch.rows === 0 ? 0 : batch.features.length / batch.rows);
  return (batch) => {
    let sums = shapes.map((shape) => {
      const noise = new Float32Array(shape.reduce((product, size) => product * size, 1));
      fillWithNoise(noise, terms.noiseMultiplier * terms.clipNorm);
      return tf.tensor(noise, shape);
    });
    let loss = 0;
    for (let start = 0; start < batch.rows; start += CHUNK_ROWS) {
      const end = Math.min(batch.rows, start + CHUNK_ROWS);
      const before = sums;
      const [next, part] = tf.tidy(() => {
        const { x, y } = inputs({
          features: batch.features.subarray(start * width(batch), end * width(batch)),
          labels: batch.labels.subarray(start, end),
          rows: end - start,
        });
        const found = clipped(x, y);
        return [found.sums.map((sum, i) => tf.add(sum, before[i] as tf.Tensor)), found.loss] as const;
      });
      tf.dispose(before);
      sums = next;
      loss += part.dataSync()[0] ?? Number.NaN;
      part.dispose();
    }
    const gradients = sums.map((sum) => tf.div(sum, expectedRows));
    tf.dispose(sums);
    return { gradients, loss: batch.rows === 0 ? undefined : loss / batch.rows };
  };
}
