import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { SecureTrainingError } from '../errors.ts';
import type { ExportedModel } from './model.ts';

/** A model for use. The backend must have been started. */
export interface Predictor {
  readonly inputs: number;
  readonly outputs: number;
  /** Outputs of `rows` rows of normalised features, row by row. */
  predict(features: Float32Array, rows: number): Float32Array;
  dispose(): void;
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` for files that are no layers model, or one of other than rows of numbers */
export async function loadPredictor({ modelJson, weights }: ExportedModel): Promise<Predictor> {
  const model = await loadModel(modelJson, weights);
  const [inputs, outputs] = [model.inputs, model.outputs].map(([tensor, ...more]) =>
    tensor?.shape.length === 2 && more.length === 0 ? tensor.shape[1] : undefined,
  );
  if (typeof inputs !== 'number' || typeof outputs !== 'number') {
    model.dispose();
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'model: wanted one row of numbers in and one out');
  }
  return {
    inputs,
    outputs,
    predict: (features, rows) =>
      tf.tidy(() => {
        const x = tf.tensor2d(features.subarray(0, rows * inputs), [rows, inputs]);
        return (model.predict(x) as tf.Tensor).dataSync() as Float32Array;
      }),
    dispose: () => model.dispose(),
  };
}

async function loadModel(modelJson: Uint8Array, weights: Uint8Array): Promise<tfl.LayersModel> {
  try {
    const { modelTopology, weightsManifest } = JSON.parse(new TextDecoder().decode(modelJson)) as tf.io.ModelJSON;
    const artifacts = {
      modelTopology,
      weightSpecs: weightsManifest.flatMap((group) => group.weights),
      weightData: weights.slice().buffer,
    };
    return await tfl.loadLayersModel(tf.io.fromMemory(artifacts));
  } catch (cause) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'model: its files are no tfjs layers model', { cause });
  }
}
