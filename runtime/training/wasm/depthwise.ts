import * as tf from '@tensorflow/tfjs-core';
import { floats, type KernelArguments } from './kernel-call.ts';

type Shape4 = [number, number, number, number];
type Info = tf.backend_util.Conv2DInfo;

/** dL/dfilter [height, width, in, multiplier] of a depthwise convolution, where every channel has filters of its own. */
export function depthwiseFilterGradient({
  inputs: { x, dy },
  attrs: { strides, dilations, pad, dimRoundingMode, filterShape },
  backend,
}: KernelArguments<'x' | 'dy', tf.DepthwiseConv2dNativeBackpropFilterAttrs>): tf.TensorInfo {
  const info = depthwiseInfo(x.shape as Shape4, filterShape, strides, dilations, pad, dimRoundingMode);
  const result = backend.makeOutput([...filterShape], 'float32');
  const [xs, dys, sums] = [floats(backend, x), floats(backend, dy), floats(backend, result)];
  sums.fill(0);
  eachTap(info, (from, to, tap) => {
    for (let channel = 0; channel < info.inChannels; channel++) {
      const value = xs[from + channel] as number;
      const multiplier = info.outChannels / info.inChannels;
      for (let m = 0, out = channel * multiplier; m < multiplier; m++, out++) {
        sums[tap + out] = (sums[tap + out] as number) + value * (dys[to + out] as number);
      }
    }
  });
  return result;
}

/** dL/dx of a depthwise convolution. */
export function depthwiseInputGradient({
  inputs: { dy, filter },
  attrs: { strides, dilations, pad, dimRoundingMode, inputShape },
  backend,
}: KernelArguments<'dy' | 'filter', tf.DepthwiseConv2dNativeBackpropInputAttrs>): tf.TensorInfo {
  const info = depthwiseInfo(inputShape, filter.shape as Shape4, strides, dilations, pad, dimRoundingMode);
  const result = backend.makeOutput([...inputShape], 'float32');
  const [dys, weights, sums] = [floats(backend, dy), floats(backend, filter), floats(backend, result)];
  sums.fill(0);
  eachTap(info, (from, to, tap) => {
    for (let channel = 0; channel < info.inChannels; channel++) {
      const multiplier = info.outChannels / info.inChannels;
      let sum = sums[from + channel] as number;
      for (let m = 0, out = channel * multiplier; m < multiplier; m++, out++) {
        sum += (dys[to + out] as number) * (weights[tap + out] as number);
      }
      sums[from + channel] = sum;
    }
  });
  return result;
}

function depthwiseInfo(
  inShape: Shape4,
  filterShape: Shape4,
  strides: [number, number] | number,
  dilations: [number, number] | number,
  pad: Parameters<typeof tf.backend_util.computeConv2DInfo>[4],
  rounding: 'floor' | 'round' | 'ceil' | undefined,
): Info {
  return tf.backend_util.computeConv2DInfo(inShape, filterShape, strides, dilations, pad, rounding, true);
}

/** Every pair of a place in the input and one in the output that a tap of the filter joins, as offsets of their first channel. */
function eachTap(info: Info, visit: (from: number, to: number, tap: number) => void): void {
  const { inHeight, inWidth, inChannels, outHeight, outWidth, outChannels } = info;
  for (let image = 0; image < info.batchSize; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++) {
        const to = ((image * outHeight + oy) * outWidth + ox) * outChannels;
        for (let fy = 0; fy < info.filterHeight; fy++) {
          const y = oy * info.strideHeight + fy * info.dilationHeight - info.padInfo.top;
          if (y < 0 || y >= inHeight) continue;
          for (let fx = 0; fx < info.filterWidth; fx++) {
            const x = ox * info.strideWidth + fx * info.dilationWidth - info.padInfo.left;
            if (x < 0 || x >= inWidth) continue;
            const from = ((image * inHeight + y) * inWidth + x) * inChannels;
            visit(from, to, (fy * info.filterWidth + fx) * outChannels);
          }
        }
      }
    }
  }
}
