import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseJson } from '../../runtime/shape.ts';
import type { NamedTensor } from '../../runtime/training/safetensors.ts';

/** One layer as tfjs and Keras 2 describe it. */
export interface LayerDescription {
  readonly class_name: string;
  readonly config: Readonly<Record<string, unknown>> & { readonly name: string };
}

/** What a tfjs layers model consists of. */
export interface LayersModel {
  readonly topology: { readonly class_name: string; readonly config: Readonly<Record<string, unknown>> };
  /** `LAYER/WEIGHT`, in the model's order. */
  readonly tensors: readonly NamedTensor[];
}

interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
}

/**
 * Takes model.json and weights.bin apart; both are what a receipt vouches for, so their form is ours.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` where they do not fit each other
 */
export function readLayersModel(modelJson: Uint8Array, weights: Uint8Array): LayersModel {
  const { modelTopology, weightsManifest } = parseJson(modelJson, 'model.json') as {
    modelTopology?: LayersModel['topology'];
    weightsManifest?: readonly { weights: readonly WeightSpec[] }[];
  };
  if (modelTopology === undefined || !Array.isArray(weightsManifest)) throw malformed('model.json is no layers model');
  let at = 0;
  const tensors = (weightsManifest as readonly { weights: readonly WeightSpec[] }[])
    .flatMap((group) => group.weights)
    .map(({ name, shape, dtype }) => {
      const bytes = 4 * shape.reduce((product, length) => product * length, 1);
      if (dtype !== 'float32' && dtype !== 'int32') throw malformed(`${name} is ${dtype}, wanted float32 or int32`);
      if (at + bytes > weights.length) throw malformed(`weights.bin ends before ${name}`);
      const { buffer } = weights.slice(at, at + bytes);
      at += bytes;
      return { name, shape, values: dtype === 'float32' ? new Float32Array(buffer) : new Int32Array(buffer) };
    });
  if (at !== weights.length) throw malformed(`weights.bin has ${weights.length - at} bytes more than model.json says`);
  return { topology: modelTopology, tensors };
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` where layers are not simply one after the other */
export function sequentialLayers({ topology }: LayersModel): readonly LayerDescription[] {
  if (topology.class_name === 'Sequential') return topology.config.layers as readonly LayerDescription[];
  throw new SecureTrainingError('CONFIG_INVALID', `the model is of class ${topology.class_name}, wanted Sequential`);
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `model: ${message}`);
}
