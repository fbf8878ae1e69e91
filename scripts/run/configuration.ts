import { readFile } from 'node:fs/promises';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { parseOverride, parseTrainingConfig, type TrainingConfig } from '../../runtime/training-config.ts';

/** A configuration in which what depends on the data may be left out. */
export type Configure = (schema: DatasetSchema, trainRows: number) => TrainingConfig;

/** For a check before the data are known. */
const ANY_SIZE = { input_size: 1, hidden_size: 1, output_size: 1 };

/** Few rows are gone through more often, until the optimizer has made this many steps. */
const STEPS_WORTH_MAKING = 400;
const EPOCHS = [3, 200] as const;

/**
 * What is set, the rest by default or by the data.
 * @param set `training.<field>=<value>` each
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the field
 */
export function fittedConfiguration(set: readonly string[]): Configure {
  const value = overridden({ training: {} }, set);
  parseTrainingConfig(value, '--set', ANY_SIZE);
  return (schema, trainRows) => fitToData(value, 'configuration', schema, trainRows);
}

/**
 * Reads a configuration file and checks all of it that can be checked before there are data.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the file and every wrong field
 */
export async function readConfiguration(path: string, set: readonly string[] = []): Promise<Configure> {
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
  value = overridden(value, set);
  parseTrainingConfig(value, path, ANY_SIZE);
  return (schema, trainRows) => fitToData(value, path, schema, trainRows);
}

/** The same configuration from these weights; their digest is what is agreed to. */
export function startingFrom(weights: Uint8Array | undefined, configure: Configure): Configure {
  if (weights === undefined) return configure;
  const initial_weights = toHex(sha256(weights));
  return (schema, trainRows) => {
    const { training } = configure(schema, trainRows);
    const named = training.initial_weights ?? initial_weights;
    if (named === initial_weights) return { training: { ...training, initial_weights } };
    const message = `training.initial_weights: found ${named.slice(0, 12)}, the file has digest ${initial_weights.slice(0, 12)}`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  };
}

/** What is not a configuration stays as it is: parsing says so. */
function overridden(value: unknown, set: readonly string[]): unknown {
  const training = Object.assign({}, ...set.map(parseOverride));
  if (set.length === 0 || typeof value !== 'object' || value === null || !('training' in value)) return value;
  return { ...value, training: { ...(value.training as object), ...training } };
}

/** One hidden layer of 512 units, or fewer where there are few features, and enough epochs for the rows. */
function fitToData(
  value: unknown,
  source: string,
  { featureCount, classes }: DatasetSchema,
  trainRows: number,
): TrainingConfig {
  const sizes = {
    input_size: featureCount,
    hidden_size: Math.min(512, Math.max(16, featureCount * 4)),
    // Values instead of classes: one output.
    output_size: Math.max(1, classes.length),
  };
  const { batch_size } = parseTrainingConfig(value, source, sizes).training;
  const [fewest, most] = EPOCHS;
  const epochs = Math.ceil(STEPS_WORTH_MAKING / Math.max(1, Math.ceil(trainRows / batch_size)));
  return parseTrainingConfig(value, source, { ...sizes, epochs: Math.min(most, Math.max(fewest, epochs)) });
}
