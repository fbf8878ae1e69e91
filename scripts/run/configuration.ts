import { readFile } from 'node:fs/promises';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../runtime/training-config.ts';

/** A configuration in which sizes may be left out: those of the data are taken. */
export type Configure = (schema: DatasetSchema) => TrainingConfig;

/** Everything by default, every size by the data. */
export const FITTED: Configure = (schema) => parseTrainingConfig({ training: {} }, 'configuration', sizesFor(schema));

/**
 * Reads a configuration file and checks all of it that can be checked before there are data.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the file and every wrong field
 */
export async function readConfiguration(path: string): Promise<Configure> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `no configuration at ${path}: 'ctrain init' writes one`, { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: not JSON: ${reason}`, { cause });
  }
  parseTrainingConfig(value, path, { input_size: 1, hidden_size: 1, output_size: 1 });
  return (schema) => parseTrainingConfig(value, path, sizesFor(schema));
}

/** One hidden layer: of 512 units, or fewer where there are few features. */
function sizesFor({ featureCount, classes }: DatasetSchema): Partial<TrainingConfig['training']> {
  return {
    input_size: featureCount,
    hidden_size: Math.min(512, Math.max(16, featureCount * 4)),
    output_size: classes.length,
  };
}
