import { createRequire } from 'node:module';
import type * as tf from '@tensorflow/tfjs-core';

/** What tfjs-node 4.22's addon offers and we use (tfjs-node/src/tfjs_binding.ts); tensors are known by numbers. */
export interface NativeBinding {
  readonly TF_Version: string;
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_STRING: number;
  createTensor(
    shape: readonly number[],
    type: number,
    values: Float32Array | Int32Array | readonly Uint8Array[],
  ): number;
  deleteTensor(id: number): void;
  /** Tensors that have not been deleted. */
  getNumOfTensors(): number;
  tensorDataSync(id: number): Float32Array;
  executeOp(
    op: string,
    attributes: readonly object[],
    inputs: readonly number[],
    outputs: number,
  ): readonly Described[];
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(id: number): void;
  /** Names are separated by commas, and one ends them. */
  runSavedModel(id: number, inputs: readonly number[], inputNames: string, outputNames: string): readonly Described[];
}

/** A tensor that the addon made. */
export interface Described {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** What we use of tfjs-node's backend beyond tfjs's own interface. */
export interface NativeBackend {
  readonly binding: NativeBinding;
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[];
  createOutputTensor(described: Described): tf.Tensor;
}

/** Name of the addon within its folder; TensorFlow's libraries lie beside it. */
export const BINDING_FILE = 'tfjs_binding.node';

/** Loads the addon, and with it TensorFlow. */
export function loadBinding(folder: string): NativeBinding {
  return createRequire(import.meta.url)(`${folder}/${BINDING_FILE}`) as NativeBinding;
}
