import * as tf from '@tensorflow/tfjs-core';

/**
 * Makes convolutions and embeddings trainable where the backend lacks the kernels of their stock gradients (tfjs 4.22 wasm; facts:
 * upstream #8474): the same sums out of matrix products and scatterNd. Only for custom models: the declarative one has neither.
 */
export function completeGradients(): void {
  const lacks = (kernel: string) => tf.getKernel(kernel, tf.getBackend()) === undefined;
  if (lacks(tf.Conv2DBackpropFilter)) {
    tf.unregisterGradient(tf.Conv2D);
    tf.registerGradient(convolution);
  }
  if (lacks(tf.UnsortedSegmentSum)) completeGather();
}

const convolution: tf.GradConfig = {
  kernelName: tf.Conv2D,
  inputsToSave: ['x', 'filter'],
  gradFunc: (dy, saved, attributes) => {
    const [x, filter] = saved as [tf.Tensor4D, tf.Tensor4D];
    const { strides, pad, dilations, dimRoundingMode } = attributes as unknown as tf.Conv2DAttrs;
    const out = dy as tf.Tensor4D;
    const info = tf.backend_util.computeConv2DInfo(x.shape, filter.shape, strides, dilations, pad, dimRoundingMode);
    return {
      x: () => tf.conv2dTranspose(out, filter, x.shape, [info.strideHeight, info.strideWidth], pad, dimRoundingMode),
      filter: () => filterGradient(x, out, info),
    };
  },
};

/** For each place of the kernel: the inputs it met, times what came of them. */
function filterGradient(x: tf.Tensor4D, dy: tf.Tensor4D, info: tf.backend_util.Conv2DInfo): tf.Tensor {
  const { padInfo, filterHeight, filterWidth, inChannels, outChannels, outHeight, outWidth } = info;
  const { strideHeight, strideWidth, dilationHeight, dilationWidth, batchSize } = info;
  const padded = tf.pad(x, [
    [0, 0],
    [padInfo.top, padInfo.bottom],
    [padInfo.left, padInfo.right],
    [0, 0],
  ]);
  const positions = batchSize * outHeight * outWidth;
  const flat = tf.reshape(dy, [positions, outChannels]);
  const parts: tf.Tensor[] = [];
  for (let row = 0; row < filterHeight; row++) {
    for (let column = 0; column < filterWidth; column++) {
      const [top, left] = [row * dilationHeight, column * dilationWidth];
      const bottom = top + (outHeight - 1) * strideHeight + 1;
      const right = left + (outWidth - 1) * strideWidth + 1;
      const end = [batchSize, bottom, right, inChannels];
      const met = tf.stridedSlice(padded, [0, top, left, 0], end, [1, strideHeight, strideWidth, 1]);
      // Transposed first, as the gradient of a matrix product (backend.ts).
      parts.push(tf.matMul(tf.transpose(tf.reshape(met, [positions, inChannels])), flat));
    }
  }
  return tf.reshape(tf.stack(parts), [filterHeight, filterWidth, inChannels, outChannels]);
}

/** An embedding gathers rows of a matrix; any other gather keeps its stock gradient. */
function completeGather(): void {
  const stock = tf.getGradient(tf.GatherV2);
  if (stock === undefined) return;
  tf.unregisterGradient(tf.GatherV2);
  tf.registerGradient({
    ...stock,
    gradFunc: (dy, saved, attributes) => {
      const [x, indices] = saved as [tf.Tensor, tf.Tensor];
      const { axis, batchDims } = attributes as unknown as tf.GatherV2Attrs;
      if (axis !== 0 || batchDims !== 0) return stock.gradFunc(dy, saved, attributes);
      const width = x.size / (x.shape[0] ?? 1);
      return {
        x: () =>
          tf.reshape(
            // Adds where an index is there twice.
            tf.scatterND(
              tf.cast(tf.reshape(indices, [indices.size, 1]), 'int32'),
              tf.reshape(dy as tf.Tensor, [indices.size, width]),
              [x.shape[0] ?? 1, width],
            ),
            x.shape,
          ),
        indices: () => indices,
      };
    },
  });
}
