import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { encodeSafeTensors } from '../../runtime/training/safetensors.ts';
import { encodeKeras } from './keras.ts';
import { readLayersModel } from './layers-model.ts';
import type { OpenedModel } from './opened-model.ts';

/** What a model may be written as; `tfjs` is what a run seals, the others are made of it. */
export const MODEL_FORMATS = ['tfjs', 'safetensors', 'keras'] as const;
export type ModelFormat = (typeof MODEL_FORMATS)[number];

/** Names of the files, beside `model/`. */
const FILES = { safetensors: 'model.safetensors', keras: 'model.keras' } as const;

/**
 * Writes an opened model once more, for another framework; the receipt is about the tfjs files alone.
 * @returns the file, or for tfjs nothing: it is there already
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a model that the format cannot hold
 */
export async function writeFormat(
  format: ModelFormat,
  folder: string,
  model: OpenedModel,
): Promise<string | undefined> {
  if (format === 'tfjs') return undefined;
  const path = join(folder, FILES[format]);
  await writeFileAtomic(path, ENCODERS[format](model), { mode: 0o600 });
  return path;
}

/** Names and layouts are Keras's: `LAYER/kernel` is inputs by outputs. The metadata say what the layers are, and the classes. */
export function safeTensorsOf({ content, modelJson, weights, preprocessing }: OpenedModel): Uint8Array {
  const { tensors, topology } = readLayersModel(modelJson, weights);
  const metadata = {
    format: 'tf',
    run: content.runId,
    topology: JSON.stringify(topology),
    preprocessing: JSON.stringify(preprocessing.schema),
  };
  return encodeSafeTensors({ tensors, metadata });
}

const ENCODERS: Readonly<Record<'safetensors' | 'keras', (model: OpenedModel) => Uint8Array>> = {
  safetensors: safeTensorsOf,
  keras: ({ modelJson, weights }) => encodeKeras(readLayersModel(modelJson, weights)),
};
