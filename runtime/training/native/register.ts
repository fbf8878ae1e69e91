import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node/dist/nodejs_kernel_backend.js';
import '@tensorflow/tfjs-node/dist/register_all_kernels.js';
import { version } from '@tensorflow/tfjs-node/dist/version.js';
import { SecureTrainingError } from '../../errors.ts';
import { loadBinding } from './binding.ts';
import { isSafeConvolution } from './layers.ts';

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
  refuseUnsafeConvolutions();
  return { 'tfjs-node': version, tensorflow: binding.TF_Version };
}

/** tfjs's own path is refused what {@link isSafeConvolution} says no to: silently wrong weights are worse than none. */
function refuseUnsafeConvolutions(): void {
  for (const name of [tf.Conv2D, tf.FusedConv2D, tf.Conv2DBackpropFilter, tf.Conv2DBackpropInput]) {
    const stock = tf.getKernel(name, 'tensorflow');
    tf.unregisterKernel(name, 'tensorflow');
    tf.registerKernel({
      ...stock,
      kernelFunc: (call) => {
        const { strides } = call.attrs as unknown as tf.Conv2DAttrs;
        const [down, across] = typeof strides === 'number' ? [strides, strides] : strides;
        if (isSafeConvolution([down, across])) return stock.kernelFunc(call);
        const message = `native convolutions give wrong values where strides differ: found ${down} and ${across}`;
        throw new SecureTrainingError('CONFIG_INVALID', message);
      },
    });
  }
}
