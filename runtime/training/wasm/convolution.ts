import * as tf from '@tensorflow/tfjs-core';
import { callKernel, floats, type KernelArguments, release } from './kernel-call.ts';

/** Columns are built for as many images at a time as fit here: large batches then cost time, not memory. */
const COLUMN_VALUES = 4 * 1024 * 1024;

type Shape4 = [number, number, number, number];
type Info = tf.backend_util.Conv2DInfo;

/**
 * dL/dfilter [height, width, in, out]: the matrix product of the input's columns, written already transposed, with dL/dy; the
 * product is XNNPACK's, and the columns are a copy.
 */
export function conv2dFilterGradient({
  inputs: { x, dy },
  attrs: { strides, pad, dimRoundingMode, filterShape },
  backend,
}: KernelArguments<'x' | 'dy', tf.Conv2DBackpropFilterAttrs>): tf.TensorInfo {
  const shape = x.shape as Shape4;
  const info = tf.backend_util.computeConv2DInfo(shape, filterShape, strides, 1, pad, dimRoundingMode);
  const places = info.outHeight * info.outWidth;
  const taps = info.filterHeight * info.filterWidth * info.inChannels;
  const images = Math.max(1, Math.floor(COLUMN_VALUES / (places * taps)));
  let sum: tf.TensorInfo | undefined;
  for (let first = 0; first < info.batchSize; first += images) {
    const count = Math.min(images, info.batchSize - first);
    const columns = backend.makeOutput([taps, count * places], 'float32');
    // Looked up after every allocation: one that grows the heap leaves older views empty.
    fillColumns(floats(backend, x), floats(backend, columns), info, first, count);
    const gradient = callKernel(
      tf.Slice,
      backend,
      { x: dy },
      { begin: [first, 0, 0, 0], size: [count, info.outHeight, info.outWidth, info.outChannels] },
    );
    gradient.shape = [count * places, info.outChannels];
    const product = callKernel(
      tf.BatchMatMul,
      backend,
      { a: columns, b: gradient },
      { transposeA: false, transposeB: false },
    );
    release(backend, columns, gradient);
    if (sum === undefined) sum = product;
    else {
      const next = callKernel(tf.Add, backend, { a: sum, b: product }, {});
      release(backend, sum, product);
      sum = next;
    }
  }
  if (sum === undefined) return backend.makeOutput([...filterShape], 'float32');
  sum.shape = [...filterShape];
  return sum;
}

/** columns[tap][place] = x at the place that the tap of the filter sees, 0 in the padding. */
function fillColumns(x: Float32Array, columns: Float32Array, info: Info, first: number, count: number): void {
  const { inHeight, inWidth, inChannels: channels, outHeight, outWidth, strideHeight, strideWidth } = info;
  const { top, left } = info.padInfo;
  const imageSize = inHeight * inWidth * channels;
  let at = 0;
  for (let fy = 0; fy < info.filterHeight; fy++) {
    for (let fx = 0; fx < info.filterWidth; fx++) {
      for (let channel = 0; channel < channels; channel++) {
        for (let image = first; image < first + count; image++) {
          for (let oy = 0; oy < outHeight; oy++) {
            const y = oy * strideHeight + fy - top;
            if (y < 0 || y >= inHeight) {
              columns.fill(0, at, at + outWidth);
              at += outWidth;
              continue;
            }
            const row = image * imageSize + y * inWidth * channels + channel;
            for (let ox = 0, column = fx - left; ox < outWidth; ox++, column += strideWidth) {
              columns[at++] = column < 0 || column >= inWidth ? 0 : (x[row + column * channels] as number);
            }
          }
        }
      }
    }
  }
}

/**
 * dL/dx: a convolution of dL/dy, spread out by the strides, with the filter turned around. XNNPACK does it many times faster than
 * the backend's own loops.
 */
export function conv2dInputGradient({
  inputs: { dy, filter },
  attrs: { strides, pad, dimRoundingMode, inputShape },
  backend,
}: KernelArguments<'dy' | 'filter', tf.Conv2DBackpropInputAttrs>): tf.TensorInfo {
  const shape = filter.shape as Shape4;
  const info = tf.backend_util.computeConv2DInfo(inputShape, shape, strides, 1, pad, dimRoundingMode);
  const height = info.inHeight + info.filterHeight - 1;
  const width = info.inWidth + info.filterWidth - 1;
  const spread = backend.makeOutput([info.batchSize, height, width, info.outChannels], 'float32');
  spreadOut(floats(backend, dy), floats(backend, spread), info, height, width);
  const reversed = callKernel(tf.Reverse, backend, { x: filter }, { dims: [0, 1] });
  const turned = callKernel(tf.Transpose, backend, { x: reversed }, { perm: [0, 1, 3, 2] });
  const plain = { strides: [1, 1], pad: 'valid', dataFormat: 'NHWC', dilations: [1, 1] };
  const dx = callKernel(tf.Conv2D, backend, { x: spread, filter: turned }, plain);
  release(backend, spread, reversed, turned);
  return dx;
}

/** Puts dL/dy where its windows end, with zeros between (strides) and around (the filter's reach, less the padding). */
function spreadOut(dy: Float32Array, target: Float32Array, info: Info, height: number, width: number): void {
  const { outHeight, outWidth, outChannels: channels, strideHeight, strideWidth } = info;
  const top = info.filterHeight - 1 - info.padInfo.top;
  const left = info.filterWidth - 1 - info.padInfo.left;
  target.fill(0);
  for (let image = 0; image < info.batchSize; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const y = oy * strideHeight + top;
      // Windows that lie wholly in the padding saw nothing of the input.
      if (y < 0 || y >= height) continue;
      const row = (image * outHeight + oy) * outWidth;
      const targetRow = (image * height + y) * width;
      if (strideWidth === 1 && left >= 0 && left + outWidth <= width) {
        target.set(dy.subarray(row * channels, (row + outWidth) * channels), (targetRow + left) * channels);
        continue;
      }
      for (let ox = 0, column = left; ox < outWidth; ox++, column += strideWidth) {
        if (column < 0 || column >= width) continue;
        const from = (row + ox) * channels;
        target.set(dy.subarray(from, from + channels), (targetRow + column) * channels);
      }
    }
  }
}
