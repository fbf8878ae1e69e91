import { setThreadsCount, setWasmPaths, version_wasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { version_layers } from '@tensorflow/tfjs-layers';
import { SecureTrainingError } from '../errors.ts';
import type { EngineInfo } from './frames.ts';
import { registerTrainingKernels } from './wasm/kernels.ts';

/**
 * Starts the wasm backend from the files in `wasmDir` and makes sure that it is the one that computes. tfjs itself would go on
 * with another backend in silence, 20 times slower and with other bits in the weights.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where wasm does not start
 */
export async function startBackend(wasmDir: string): Promise<EngineInfo> {
  setWasmPaths(wasmDir.endsWith('/') ? wasmDir : `${wasmDir}/`);
  // One thread: tfjs has no wasm threads in Node, and the sum of a matrix product must not depend on a machine's cores.
  setThreadsCount(1);
  let started: boolean;
  try {
    started = await tf.setBackend('wasm');
    if (started) await tf.ready();
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', 'tfjs backend wasm does not start', { cause });
  }
  if (!started || tf.getBackend() !== 'wasm') {
    throw new SecureTrainingError('CONFIG_INVALID', `tfjs backend is ${tf.getBackend() || 'none'}, wanted wasm`);
  }
  useTransposedGradient();
  registerTrainingKernels();
  return {
    backend: 'wasm',
    simd: Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')),
    threads: 1,
    versions: {
      'tfjs-core': tf.version_core,
      'tfjs-layers': version_layers,
      'tfjs-backend-wasm': version_wasm,
      node: process.versions.node,
      v8: process.versions.v8,
    },
  };
}

/**
 * The stock gradient of a matrix product calls matMul(transposeA/B), which the wasm backend does element by element (72 ms
 * for 128x784 by 128x512); transposing first uses its fast path (3 ms). Facts: measurements section 4.
 */
export function useTransposedGradient(): void {
  tf.unregisterGradient(tf.BatchMatMul);
  tf.registerGradient({
    kernelName: tf.BatchMatMul,
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, saved, attributes) => {
      const [a, b] = saved as [tf.Tensor, tf.Tensor];
      const { transposeA, transposeB } = attributes as unknown as tf.BatchMatMulAttrs;
      const dyMatrix = dy as tf.Tensor;
      // With A' = A or its transpose as used: dA' = dy B'^T, dB' = A'^T dy; a transposed operand's gradient is the transpose.
      return {
        a: () =>
          transposeA
            ? tf.matMul(transposeB ? turned(b) : b, turned(dyMatrix))
            : tf.matMul(dyMatrix, transposeB ? b : turned(b)),
        b: () =>
          transposeB
            ? tf.matMul(turned(dyMatrix), transposeA ? turned(a) : a)
            : tf.matMul(transposeA ? a : turned(a), dyMatrix),
      };
    },
  });
}

/** Swaps the last two axes, whatever the rank. */
function turned(tensor: tf.Tensor): tf.Tensor {
  const axes = tensor.shape.map((_, i) => i);
  const last = axes.splice(-2).reverse();
  return tf.transpose(tensor, [...axes, ...last]);
}
