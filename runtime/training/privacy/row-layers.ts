import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';

/** A layer as DP-SGD sees it: with weights, so that each row has a gradient of its own, or without. */
export type RowLayer =
  | { readonly weighted: false; apply(x: tf.Tensor): tf.Tensor }
  | {
      readonly weighted: true;
      readonly kernel: tf.Variable;
      readonly bias: tf.Variable | undefined;
      /** What the kernel is multiplied with: `[rows, taps]` or `[rows, places, taps]`, `taps` values for each output place. */
      operands(x: tf.Tensor): tf.Tensor;
      /** Result before the activation, `[rows, …, outputs]`. */
      affine(x: tf.Tensor): tf.Tensor;
      activate(z: tf.Tensor): tf.Tensor;
    };

/** Layers that treat each row by itself and have no weights. */
const PLAIN = new Set([
  'InputLayer',
  'Flatten',
  'Reshape',
  'Activation',
  'ReLU',
  'Softmax',
  'Dropout',
  'MaxPooling2D',
  'AveragePooling2D',
  'GlobalAveragePooling2D',
  'GlobalMaxPooling2D',
]);

/**
 * Why a model cannot be trained with differential privacy; empty where it can. What mixes rows (batch normalisation) or shares
 * weights gives no gradient of one row by itself, and a layer that nobody wrote a rule for is refused rather than guessed.
 */
export function privacyObstacles(model: tfl.LayersModel): string[] {
  if (!(model instanceof tfl.Sequential)) return ['it is not a sequence of layers'];
  return model.layers.flatMap((layer) => {
    const kind = layer.getClassName();
    const { dataFormat, dilationRate, useBias, kernelRegularizer, biasRegularizer } = layer.getConfig();
    const where = `layer ${layer.name} (${kind})`;
    if (PLAIN.has(kind)) return [];
    if (kind !== 'Dense' && kind !== 'Conv2D') return [`${where} may mix rows, or has no rule`];
    const failures: string[] = [];
    if (kind === 'Dense' && (layer.input as tfl.SymbolicTensor).shape.length !== 2) {
      failures.push(`${where} works on more than one axis`);
    }
    if (kind === 'Conv2D' && dataFormat === 'channelsFirst') failures.push(`${where} has its channels first`);
    if (Array.isArray(dilationRate) && dilationRate.some((rate) => rate !== 1)) failures.push(`${where} is dilated`);
    // A penalty on the weights is no row's: its gradient would be clipped with the rows', or not at all.
    if (kernelRegularizer != null || (useBias === true && biasRegularizer != null)) {
      failures.push(`${where} has a regularizer`);
    }
    if (!layer.trainable) failures.push(`${where} is frozen`);
    return failures;
  });
}

/** @param layer one that {@link privacyObstacles} has nothing against */
export function rowLayerOf(layer: tfl.layers.Layer): RowLayer {
  if (PLAIN.has(layer.getClassName())) {
    return { weighted: false, apply: (x) => layer.apply(x, { training: true }) as tf.Tensor };
  }
  const [kernel, bias] = layer.trainableWeights.map((weight) => weight.read() as tf.Variable);
  if (kernel === undefined) throw new Error(`layer ${layer.name} has no kernel`);
  const { activation, strides, padding } = layer.getConfig();
  const activate = activationOf(typeof activation === 'string' ? activation : 'linear');
  const plus = (z: tf.Tensor) => (bias === undefined ? z : tf.add(z, bias));
  if (layer.getClassName() === 'Dense') {
    return {
      weighted: true,
      kernel,
      bias,
      operands: (x) => x,
      affine: (x) => plus(tf.matMul(x as tf.Tensor2D, kernel as tf.Tensor as tf.Tensor2D)),
      activate,
    };
  }
  const stride = strides as [number, number];
  const pad = padding as 'same' | 'valid';
  const filter = kernel as tf.Tensor as tf.Tensor4D;
  const [height, width, channels] = filter.shape;
  const taps = height * width * channels;
  return {
    weighted: true,
    kernel,
    bias,
    operands(x) {
      // A filter that only copies: one output channel for each tap.
      const copy = tf.reshape(tf.eye(taps), [height, width, channels, taps]) as tf.Tensor4D;
      const patches = tf.conv2d(x as tf.Tensor4D, copy, stride, pad);
      return tf.reshape(patches, [x.shape[0] ?? 0, -1, taps]);
    },
    affine: (x) => plus(tf.conv2d(x as tf.Tensor4D, filter, stride, pad)),
    activate,
  };
}

function activationOf(name: string): (z: tf.Tensor) => tf.Tensor {
  if (name === 'linear') return (z) => z;
  const layer = tfl.layers.activation({ activation: name as 'relu' });
  return (z) => layer.apply(z) as tf.Tensor;
}
