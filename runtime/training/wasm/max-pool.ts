import * as tf from '@tensorflow/tfjs-core';
import { floats, type KernelArguments } from './kernel-call.ts';

/** dL/dx of max pooling: each window's gradient goes to its first greatest value, as on cpu. */
export function maxPoolGradient({
  inputs: { dy, input },
  attrs: { filterSize, strides, pad, dimRoundingMode },
  backend,
}: KernelArguments<'dy' | 'input', tf.MaxPoolGradAttrs>): tf.TensorInfo {
  const info = tf.backend_util.computePool2DInfo(
    input.shape as [number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  const { inHeight, inWidth, inChannels: channels, outHeight, outWidth } = info;
  const result = backend.makeOutput([...input.shape], 'float32');
  const [xs, dys, sums] = [floats(backend, input), floats(backend, dy), floats(backend, result)];
  sums.fill(0);
  for (let image = 0, to = 0; image < info.batchSize; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * info.strideHeight - info.padInfo.top;
      const [firstRow, endRow] = [Math.max(0, top), Math.min(inHeight, top + info.filterHeight)];
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * info.strideWidth - info.padInfo.left;
        const [firstColumn, endColumn] = [Math.max(0, left), Math.min(inWidth, left + info.filterWidth)];
        for (let channel = 0; channel < channels; channel++, to++) {
          let greatest = Number.NEGATIVE_INFINITY;
          let place = -1;
          for (let y = firstRow; y < endRow; y++) {
            let at = ((image * inHeight + y) * inWidth + firstColumn) * channels + channel;
            for (let x = firstColumn; x < endColumn; x++, at += channels) {
              const value = xs[at] as number;
              if (value > greatest) {
                greatest = value;
                place = at;
              }
            }
          }
          if (place >= 0) sums[place] = (sums[place] as number) + (dys[to] as number);
        }
      }
    }
  }
  return result;
}
