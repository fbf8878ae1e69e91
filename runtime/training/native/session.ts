import * as tf from '@tensorflow/tfjs-core';
import type { Described, NativeBackend, NativeBinding } from './binding.ts';
import { GRAPH_TAG } from './graph.ts';

/** TensorFlow's file system in memory: the graph never touches a disk, which a confined worker could not write anyway. */
const FOLDERS = 'ram://ctrain';
/** A file that is there is not written again, so every graph has a folder of its own. */
let opened = 0;

/** A loaded graph; its variables live as long as it does. */
export interface Session {
  /** Runs what `outputs` need; the tensors are the caller's to release. */
  run(inputs: Readonly<Record<string, number>>, outputs: readonly string[]): readonly Described[];
  close(): void;
}

/** Loads a graph of {@link Graph.savedModel} by way of what the addon has for saved models: one call a step, no addon of our own. */
export function openSession(binding: NativeBinding, savedModel: Uint8Array): Session {
  const text = (bytes: Uint8Array) => binding.createTensor([], binding.TF_STRING, [bytes]);
  const folder = `${FOLDERS}/${opened++}`;
  const inputs = [text(new TextEncoder().encode(`${folder}/saved_model.pb`)), text(savedModel)];
  binding.executeOp('WriteFile', [], inputs, 0);
  for (const id of inputs) binding.deleteTensor(id);
  const model = binding.loadSavedModel(folder, `${GRAPH_TAG},`);
  return {
    run: (given, outputs) =>
      binding.runSavedModel(model, Object.values(given), listed(Object.keys(given)), listed(outputs)),
    close: () => binding.deleteSavedModel(model),
  };
}

/** First outputs, as the addon reads them. */
function listed(names: readonly string[]): string {
  return names.map((name) => `${name}:0,`).join('');
}

/** The backend, where tfjs-node's is the one that computes. */
export function nativeBackend(): NativeBackend | undefined {
  return tf.getBackend() === 'tensorflow' ? (tf.backend() as unknown as NativeBackend) : undefined;
}
