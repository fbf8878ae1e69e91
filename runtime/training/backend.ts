import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { version_cpu } from '@tensorflow/tfjs-backend-cpu';
import { setThreadsCount, setWasmPaths, version_wasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { version_layers } from '@tensorflow/tfjs-layers';
import { SecureTrainingError } from '../errors.ts';
import { BACKENDS, type BackendName, isBackendName } from './backend-name.ts';
import type { EngineInfo } from './frames.ts';
import { BINDING_FILE } from './native/binding.ts';
import { registerTrainingKernels } from './wasm/kernels.ts';

export interface StartBackendOptions {
  /** Folder with tfjs's wasm file. */
  readonly wasmDir: string;
  /**
   * Folder with TensorFlow's libraries and the addon, as `npm run setup:native` makes it.
   * @default - there is none
   */
  readonly nativeDir?: string;
  /**
   * The only one that will do, of {@link BACKENDS}. `cpu` is a thousand times slower than `native` on a convolution.
   * @default - native where its folder has it, else wasm
   */
  readonly backend?: string;
}

/** What tfjs itself calls them. */
const REGISTERED: Readonly<Record<BackendName, string>> = { native: 'tensorflow', wasm: 'wasm', cpu: 'cpu' };

/**
 * Starts a backend and makes sure that it is the one that computes. tfjs itself would go on with another one in silence, slower
 * and with other bits in the weights; so one that is there and does not work is an error too.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where it does not start
 */
export async function startBackend(options: StartBackendOptions): Promise<EngineInfo> {
  const name = options.backend ?? (hasNative(options.nativeDir) ? 'native' : 'wasm');
  if (!isBackendName(name)) {
    throw new SecureTrainingError('CONFIG_INVALID', `backend is ${name}, wanted ${BACKENDS.join(', ')}`);
  }
  const registered = REGISTERED[name];
  let info: EngineInfo;
  let started: boolean;
  try {
    info = await PREPARE[name](options);
    started = await tf.setBackend(registered);
    if (started) await tf.ready();
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `tfjs backend ${name} does not start`, { cause });
  }
  if (!started || tf.getBackend() !== registered) {
    throw new SecureTrainingError('CONFIG_INVALID', `tfjs backend is ${tf.getBackend() || 'none'}, wanted ${name}`);
  }
  return info;
}

function hasNative(folder: string | undefined): folder is string {
  return folder !== undefined && existsSync(join(folder, BINDING_FILE));
}

/** Versions that decide the bits, whatever computes. */
const VERSIONS = {
  'tfjs-core': tf.version_core,
  'tfjs-layers': version_layers,
  node: process.versions.node,
  v8: process.versions.v8,
};

const PREPARE: Readonly<Record<BackendName, (options: StartBackendOptions) => Promise<EngineInfo>>> = {
  native: async ({ nativeDir }) => {
    if (!hasNative(nativeDir)) throw new Error('it is not set up');
    // An optional dependency, and left out of a bundle that is made without it.
    const { registerNative } = await import('./native/register.ts');
    const versions = { ...VERSIONS, ...registerNative(nativeDir) };
    return { backend: 'native', simd: true, threads: availableParallelism(), versions };
  },
  wasm: async ({ wasmDir }) => {
    setWasmPaths(wasmDir.endsWith('/') ? wasmDir : `${wasmDir}/`);
    // One thread: tfjs has no wasm threads in Node, and the sum of a matrix product must not depend on a machine's cores.
    setThreadsCount(1);
    useTransposedGradient();
    registerTrainingKernels();
    const simd = Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'));
    return { backend: 'wasm', simd, threads: 1, versions: { ...VERSIONS, 'tfjs-backend-wasm': version_wasm } };
  },
  cpu: async () => ({
    backend: 'cpu',
    simd: false,
    threads: 1,
    versions: { ...VERSIONS, 'tfjs-backend-cpu': version_cpu },
  }),
};

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
