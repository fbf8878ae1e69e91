import { SecureTrainingError } from './errors.ts';
import { nearest } from './nearest.ts';

/** A complete run configuration; {@link parseTrainingConfig} fills the defaults in. */
export interface TrainingConfig {
  readonly training: {
    /** Features of one row. */
    readonly input_size: number;
    /** Units of the hidden layer (relu). */
    readonly hidden_size: number;
    /** Classes (softmax). */
    readonly output_size: number;
    readonly epochs: number;
    readonly batch_size: number;
    readonly optimizer: 'adam' | 'sgd';
    readonly learning_rate: number;
    /** Decides initial weights and the order of rows: same seed, same data, same backend, same weights to the bit. */
    readonly seed: number;
    /** Steps between two sealed checkpoints; the last step always leaves one. */
    readonly checkpoint_steps: number;
    /** Rows that are shuffled together. */
    readonly shuffle_rows: number;
    /** SHA-256 (hex) of a safetensors file to start from. @default - the seed decides */
    readonly initial_weights?: string;
    /**
     * Module with a model of one's own, relative to the configuration file (docs/custom-models.md).
     * @default - hidden layer and output of the sizes above
     */
    readonly model?: string;
    /**
     * Module that opens the sealed objects.
     * @default - they are Arrow files
     */
    readonly dataset?: string;
  };
}

type Field = Exclude<keyof TrainingConfig['training'], ModuleField>;
type ModuleField = (typeof MODULE_FIELDS)[number];

/** Fields that are there only where something is not as usual. */
const MODULE_FIELDS = ['model', 'dataset'] as const;
/** Below the folder of the configuration: nothing of a machine's own paths stands in an agreement. */
const MODULE_PATH = /^(?:\.\/)?(?:[\w-][\w.-]*\/)*[\w-][\w.-]*\.[cm]?[jt]s$/;

const DEFAULTS = {
  epochs: 3,
  batch_size: 128,
  optimizer: 'adam',
  learning_rate: 0.001,
  seed: 42,
  checkpoint_steps: 200,
  shuffle_rows: 32768,
} as const satisfies Partial<TrainingConfig['training']>;

const MAXIMUM: Readonly<Partial<Record<Field, number>>> = {
  input_size: 1_000_000,
  hidden_size: 65_536,
  output_size: 65_536,
  epochs: 100_000,
  batch_size: 65_536,
  seed: 2 ** 31 - 1,
  checkpoint_steps: 1_000_000_000,
  shuffle_rows: 10_000_000,
};

const FIELDS: readonly Field[] = ['input_size', 'hidden_size', 'output_size', ...(Object.keys(DEFAULTS) as Field[])];

/**
 * Checks a configuration and fills in what is left out; `{"training":{"input_size":784,"hidden_size":512,"output_size":10}}` is complete.
 * @param fitted values for what is left out, before the general defaults: sizes that fit a dataset
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, one failure per wrong field; an unknown key is named with the nearest known one
 */
export function parseTrainingConfig(
  value: unknown,
  source = 'configuration',
  fitted: Partial<TrainingConfig['training']> = {},
): TrainingConfig {
  if (!isRecord(value)) throw invalid(source, ['it is not an object']);
  const failures: string[] = unknownKeys(value, ['training'], '');
  const given = value.training;
  if (!isRecord(given))
    throw invalid(source, [...failures, 'training: wanted an object with input_size, hidden_size and output_size']);
  failures.push(...unknownKeys(given, [...FIELDS, 'initial_weights', ...MODULE_FIELDS], 'training.'));
  const merged: Record<string, unknown> = { ...DEFAULTS, ...fitted, ...given };
  for (const field of FIELDS) {
    const problem = check(field, merged[field]);
    if (problem !== undefined) failures.push(`training.${field}: ${problem}`);
  }
  const { initial_weights } = given;
  if (initial_weights !== undefined && !(typeof initial_weights === 'string' && /^[0-9a-f]{64}$/.test(initial_weights)))
    failures.push(`training.initial_weights: found ${show(initial_weights)}, wanted 64 lower-case hex digits`);
  const modules = MODULE_FIELDS.filter((field) => given[field] !== undefined);
  for (const field of modules) {
    const path = given[field];
    if (typeof path === 'string' && path.length <= 200 && MODULE_PATH.test(path)) continue;
    failures.push(
      `training.${field}: found ${show(path)}, wanted a file such as ./${field}.ts in the configuration's folder`,
    );
  }
  if (failures.length > 0) throw invalid(source, failures);
  return {
    training: Object.fromEntries([
      ...[...FIELDS, ...modules].map((field) => [field, merged[field]]),
      ...(initial_weights === undefined ? [] : [['initial_weights', initial_weights]]),
    ]) as unknown as TrainingConfig['training'],
  };
}

function check(field: Field, value: unknown): string | undefined {
  if (field === 'optimizer')
    return value === 'adam' || value === 'sgd' ? undefined : `found ${show(value)}, wanted adam or sgd`;
  if (field === 'learning_rate') {
    return typeof value === 'number' && value > 0 && value <= 10
      ? undefined
      : `found ${show(value)}, wanted a number above 0, at most 10`;
  }
  const low = field === 'seed' ? 0 : 1;
  const high = MAXIMUM[field] ?? Number.MAX_SAFE_INTEGER;
  if (Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high) return undefined;
  return `found ${show(value)}, wanted a whole number from ${low} to ${high}`;
}

function unknownKeys(value: Record<string, unknown>, known: readonly string[], prefix: string): string[] {
  return Object.keys(value)
    .filter((key) => !known.includes(key))
    .map((key) => `${prefix}${key}: unknown key, did you mean ${prefix}${nearest(key, known)}?`);
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(source: string, failures: readonly string[]): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${source}: ${failures.join('; ')}`, { failures });
}
