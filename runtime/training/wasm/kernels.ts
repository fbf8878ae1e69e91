import * as tf from '@tensorflow/tfjs-core';
import { conv2dFilterGradient, conv2dInputGradient } from './convolution.ts';
import { depthwiseFilterGradient, depthwiseInputGradient } from './depthwise.ts';
import { maxPoolGradient } from './max-pool.ts';
import { unsortedSegmentSum } from './segment-sum.ts';

/**
 * Kernels of gradients that tfjs's wasm backend 4.22 lacks or has only as slow loops: without them it trains no convolution and
 * no embedding. Each is checked against the cpu backend. Sums run in a fixed order: the same bits on every run.
 */
export function registerTrainingKernels(): void {
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
    if (tf.getKernel(kernelName, 'wasm') !== undefined) tf.unregisterKernel(kernelName, 'wasm');
    tf.registerKernel({ kernelName, backendName: 'wasm', kernelFunc: kernel as unknown as tf.KernelFunc });
  }
}

const KERNELS = {
  [tf.Conv2DBackpropFilter]: conv2dFilterGradient,
  [tf.Conv2DBackpropInput]: conv2dInputGradient,
  [tf.DepthwiseConv2dNativeBackpropFilter]: depthwiseFilterGradient,
  [tf.DepthwiseConv2dNativeBackpropInput]: depthwiseInputGradient,
  [tf.MaxPoolGrad]: maxPoolGradient,
  [tf.UnsortedSegmentSum]: unsortedSegmentSum,
};
