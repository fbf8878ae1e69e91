import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node/dist/nodejs_kernel_backend.js';
import '@tensorflow/tfjs-node/dist/register_all_kernels.js';
import { version } from '@tensorflow/tfjs-node/dist/version.js';
import { loadBinding } from './binding.ts';
import { isUnsafeFilterGradient } from './layers.ts';

/** tfjs-node 4.22 calls these; Node 23 took them out of `util` (tensorflow/tfjs pull request 8425, never released). */
const removed = util as unknown as Record<string, unknown>;
removed.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
removed.isArray ??= Array.isArray;

/**
 * Makes tfjs-node's backend known to tfjs, on the addon in `folder`. Its own start (`tfjs-node/dist/index.js`) looks for the addon below
 * node_modules, which a bundle has not.
 * @returns versions
 */
export function registerNative(folder: string): Record<string, string> {
  const binding = loadBinding(folder);
  const backend = new NodeJSKernelBackend(binding as never, '@tensorflow/tfjs-node');
  tf.registerBackend('tensorflow', () => backend as unknown as tf.KernelBackend);
  avoidUnsafeFilterGradient();
  return { 'tfjs-node': version, tensorflow: binding.TF_Version };
}

/** Points that a filter of one point never sees are left out of the image beforehand; then no strides are left. */
function avoidUnsafeFilterGradient(): void {
  const stock = tf.getKernel(tf.Conv2DBackpropFilter, 'tensorflow');
  tf.unregisterKernel(tf.Conv2DBackpropFilter, 'tensorflow');
  tf.registerKernel({
    ...stock,
    kernelFunc: (call) => {
      const { strides, filterShape } = call.attrs as unknown as tf.Conv2DBackpropFilterAttrs;
      const [down, across] = typeof strides === 'number' ? [strides, strides] : strides;
      if (!isUnsafeFilterGradient(filterShape, [down, across])) return stock.kernelFunc(call);
      const x = call.inputs.x as tf.Tensor4D;
      const seen = tf.stridedSlice(x, [0, 0, 0, 0], x.shape, [1, down, across, 1]);
      const gradient = stock.kernelFunc({
        ...call,
        inputs: { ...call.inputs, x: seen },
        attrs: { ...call.attrs, strides: 1 },
      });
      seen.dispose();
      return gradient;
    },
  });
}
