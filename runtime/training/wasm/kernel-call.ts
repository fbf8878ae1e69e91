import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';

/** What tfjs hands to a kernel. */
export interface KernelArguments<Inputs extends string, Attributes> {
  readonly inputs: Record<Inputs, tf.TensorInfo>;
  readonly attrs: Attributes;
  readonly backend: BackendWasm;
}

/** Another kernel of the backend, called without the tape and the scopes of a tfjs operation. The caller releases the result. */
export function callKernel(
  name: string,
  backend: BackendWasm,
  inputs: Record<string, tf.TensorInfo>,
  attrs: object,
): tf.TensorInfo {
  const kernel = tf.getKernel(name, 'wasm');
  if (kernel === undefined) throw new Error(`wasm has no kernel ${name}`);
  return kernel.kernelFunc({ inputs, backend, attrs: attrs as tf.NamedAttrMap }) as tf.TensorInfo;
}

/** A view of a tensor's values. Good until the next allocation: one that grows the heap leaves older views empty. */
export function floats(backend: BackendWasm, tensor: tf.TensorInfo): Float32Array {
  return backend.typedArrayFromHeap(tensor) as Float32Array;
}

export function release(backend: BackendWasm, ...tensors: readonly tf.TensorInfo[]): void {
  for (const { dataId } of tensors) backend.disposeData(dataId);
}
