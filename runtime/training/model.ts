import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { utf8 } from '../crypto/bytes.ts';
import type { TrainingConfig } from '../training-config.ts';

/** Name of the layer whose output, before softmax, the loss is taken of: the sum of exponentials then cannot overflow. */
export const LOGITS_LAYER = 'logits';

/** dense(hidden_size, relu), dense(output_size), softmax. Initial weights are a function of the seed alone. */
export function buildModel({ training }: TrainingConfig): tfl.Sequential {
  return tfl.sequential({
    name: 'classifier',
    layers: [
      tfl.layers.dense({
        name: 'hidden',
        inputShape: [training.input_size],
        units: training.hidden_size,
        activation: 'relu',
        kernelInitializer: tfl.initializers.heUniform({ seed: training.seed }),
      }),
      tfl.layers.dense({
        name: LOGITS_LAYER,
        units: training.output_size,
        // Another seed than the first layer's, or both would draw from one and the same sequence.
        kernelInitializer: tfl.initializers.glorotUniform({ seed: training.seed + 1 }),
      }),
      tfl.layers.softmax({ name: 'probabilities' }),
    ],
  });
}

/** Stable names of a model's weights (`hidden/kernel`); tfjs appends counters where a process builds a second model. */
export function namedWeights(model: tfl.LayersModel): { name: string; variable: tf.Variable }[] {
  const names = new Map(
    model.layers.flatMap((layer) =>
      layer.weights.map((weight) => [weight, `${layer.name}/${weight.originalName.split('/').at(-1)}`] as const),
    ),
  );
  // In the model's own order, which is that of the file it is saved to: weights that are not trained come last.
  return model.weights.map((weight) => ({
    name: names.get(weight) ?? weight.originalName,
    variable: weight.read() as tf.Variable,
  }));
}

/** A tfjs layers model as two files: what `tf.loadLayersModel('file://…/model.json')` reads. */
export interface ExportedModel {
  readonly modelJson: Uint8Array;
  readonly weights: Uint8Array;
}

/** Writes the same bytes for the same weights. */
export async function exportModel(model: tfl.LayersModel): Promise<ExportedModel> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (saved) => {
      artifacts = saved;
      // The time is tfjs's own log entry; it is not part of what is written.
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  const data = artifacts?.weightData;
  if (artifacts === undefined || data === undefined) throw new Error('tfjs saved no weights');
  const nameOf = new Map(namedWeights(model).map(({ name, variable }) => [variable, name]));
  // tfjs saves what is trained first, then the rest (moving means): not layer by layer.
  const names = model.weights.map((weight) => nameOf.get(weight.read() as tf.Variable));
  const specs = (artifacts.weightSpecs ?? []).map((spec, i) => ({ ...spec, name: names[i] ?? spec.name }));
  const modelJson = {
    format: 'layers-model',
    generatedBy: artifacts.generatedBy,
    convertedBy: null,
    modelTopology: artifacts.modelTopology,
    weightsManifest: [{ paths: ['weights.bin'], weights: specs }],
  };
  return {
    modelJson: utf8(JSON.stringify(modelJson)),
    weights: new Uint8Array(tf.io.CompositeArrayBuffer.join(data)),
  };
}
