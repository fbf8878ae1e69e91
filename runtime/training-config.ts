import { SecureTrainingError } from './errors.ts';
import { nearest } from './nearest.ts';
import {
  check,
  defaults,
  FIELDS,
  isOptional,
  isRecord,
  LONGEST_TEXT,
  MOST_WEIGHT,
  NAMES,
  show,
  type TrainingField,
} from './training-fields.ts';

/** A complete run configuration; {@link parseTrainingConfig} fills the defaults in. */
export interface TrainingConfig {
  readonly training: {
    /** Features of one row. */
    readonly input_size: number;
    /** Units of the hidden layer (relu). */
    readonly hidden_size: number;
    /** Classes (softmax). */
    readonly output_size: number;
    /** 0: the initial weights are measured, and nothing is trained. */
    readonly epochs: number;
    readonly batch_size: number;
    readonly optimizer: 'adam' | 'sgd';
    readonly learning_rate: number;
    /** Decides initial weights and the order of rows: same seed, same data, same backend, same weights to the bit. */
    readonly seed: number;
    /** Steps between two sealed checkpoints, 0 lets time decide; the last step always leaves one. */
    readonly checkpoint_steps: number;
    /** Newest checkpoints that stay. @default 3 */
    readonly checkpoints_kept?: number;
    /** Rows that are shuffled together. */
    readonly shuffle_rows: number;
    /** Learning rate over the steps; `cosine` reaches 0 at the last one. */
    readonly schedule: 'constant' | 'cosine' | 'step';
    /** @default 0, plain gradient descent */
    readonly momentum?: number;
    /** @default 0 */
    readonly warmup_steps?: number;
    /** @default 1000 */
    readonly decay_steps?: number;
    /** @default 0.1 */
    readonly decay_factor?: number;
    /** @default 0, never stops early */
    readonly early_stopping_epochs?: number;
    /** @default 'last' */
    readonly keep?: 'last' | 'best';
    /** @default 1 */
    readonly validation_epochs?: number;
    /** @default 0, none */
    readonly max_steps?: number;
    /** @default 0, none */
    readonly max_minutes?: number;
    /** Noise of DP-SGD, in multiples of the clipping norm. @default 0, no differential privacy */
    readonly privacy_noise?: number;
    /** @default 1 */
    readonly privacy_clip_norm?: number;
    /** @default 0.00001 */
    readonly privacy_delta?: number;
    /** Epsilon after which a run ends. @default 0, no limit */
    readonly privacy_budget?: number;
    /**
     * What computes; another is never taken in silence.
     * @default 'auto', native where the trainer has it, else wasm
     */
    readonly backend?: 'auto' | 'native' | 'wasm' | 'cpu';
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
    /**
     * How much each dataset gives to an epoch, by name (`owner id/name` where two owners use one): a number above 0 each, only their
     * proportion counts.
     * @default - every row once
     */
    readonly dataset_weights?: Readonly<Record<string, number>>;
    /** What a row of a class counts in the loss of a step; measurements count each row once. @default - 1 each */
    readonly class_weights?: Readonly<Record<string, number>>;
    /** Decoupled from the gradient (Loshchilov and Hutter 2019, algorithm 2), of kernels and not of biases. @default 0 */
    readonly weight_decay?: number;
    /** SHA-256 (hex) of a safetensors file to start from. @default - the seed decides */
    readonly initial_weights?: string;
  };
}

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
  const { $schema: _, ...own } = value;
  const failures: string[] = unknownKeys(own, ['training'], '');
  const given = own.training;
  if (!isRecord(given))
    throw invalid(source, [...failures, 'training: wanted an object with input_size, hidden_size and output_size']);
  failures.push(...unknownKeys(given, NAMES, 'training.'));
  const merged: Record<string, unknown> = { ...defaults(), ...fitted, ...given };
  for (const field of NAMES) {
    const problem = check(FIELDS[field], merged[field]);
    if (problem !== undefined) failures.push(`training.${field}: ${problem}`);
  }
  if (merged.optimizer === 'adam' && merged.momentum !== 0) {
    failures.push(`training.momentum: found ${show(merged.momentum)} with optimizer adam, wanted optimizer sgd`);
  }
  if (merged.class_weights !== undefined && merged.model !== undefined) {
    failures.push("training.class_weights: found with training.model, whose loss is the module's own");
  }
  if (merged.epochs === 0 && merged.initial_weights === undefined) {
    failures.push(
      'training.epochs: found 0 without initial_weights, wanted a whole number from 1, or weights to measure',
    );
  }
  failures.push(...privacyConflicts(merged));
  if (failures.length > 0) throw invalid(source, failures);
  const canonical = NAMES.filter((field) =>
    isOptional(FIELDS[field]) ? merged[field] !== FIELDS[field].default : true,
  );
  return {
    training: Object.fromEntries(
      canonical.map((field) => [field, merged[field]]),
    ) as unknown as TrainingConfig['training'],
  };
}

/** What makes the accounting of privacy wrong, or means nothing without it. */
function privacyConflicts(training: Record<string, unknown>): string[] {
  const { privacy_noise, privacy_budget, dataset_weights, dataset, class_weights } = training;
  if (privacy_noise === 0) {
    if (privacy_budget === 0) return [];
    return [`training.privacy_budget: found ${show(privacy_budget)} without noise, wanted privacy_noise above 0`];
  }
  return [
    ...(dataset_weights === undefined
      ? []
      : ['training.dataset_weights: with privacy_noise every row is drawn alike, wanted it left out']),
    ...(class_weights === undefined
      ? []
      : ['training.class_weights: with privacy_noise every row counts alike, wanted it left out']),
    ...(dataset === undefined
      ? []
      : ['training.dataset: with privacy_noise a module could make one row of many, wanted it left out']),
  ];
}

/** Every field's value, those too that the canonical form leaves out. */
export function fullTraining({ training }: TrainingConfig): Required<TrainingConfig['training']> {
  return { ...defaults(), ...training } as Required<TrainingConfig['training']>;
}

/**
 * Reads one `training.<field>=<value>` of a command line, by the field's type.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseOverride(text: string): Partial<Record<TrainingField, unknown>> {
  const [, path = '', value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  if (path === '') throw invalid('--set', [`found ${show(text)}, wanted training.<field>=<value>`]);
  const name = path.startsWith('training.') ? path.slice('training.'.length) : path;
  if (name === path || !Object.hasOwn(FIELDS, name)) {
    throw invalid('--set', [`${path}: unknown key, did you mean training.${nearest(name, NAMES)}?`]);
  }
  const field = name as TrainingField;
  const numeric = FIELDS[field].kind === 'whole' || FIELDS[field].kind === 'number';
  // Number('') is 0, and Number('0x10') 16: only what JSON calls a number.
  const structured = FIELDS[field].kind === 'weights';
  const typed = structured
    ? parsed(value)
    : numeric && /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(value)
      ? Number(value)
      : value;
  const problem = check(FIELDS[field], typed);
  if (problem !== undefined) throw invalid('--set', [`${path}: ${problem}`]);
  return { [field]: typed };
}

const JSON_TYPES = { whole: 'integer', number: 'number', text: 'string', weights: 'object' } as const;

/** JSON Schema (draft 2020-12) for editors; what a command line fits to the data is not required of a file. */
export function trainingSchema(): object {
  const properties = NAMES.map((name) => {
    const { doc, kind, range, above, form, default: preset } = FIELDS[name];
    const [low, high] = range ?? [];
    return [
      name,
      {
        description: doc,
        ...(typeof kind === 'object' ? { enum: kind } : { type: JSON_TYPES[kind] }),
        ...(kind === 'weights'
          ? { additionalProperties: { type: 'number', exclusiveMinimum: 0, maximum: MOST_WEIGHT } }
          : {}),
        ...(form === undefined ? {} : { pattern: form.pattern.source, maxLength: LONGEST_TEXT }),
        ...(low === undefined ? {} : above ? { exclusiveMinimum: low } : { minimum: low }),
        ...(high === undefined ? {} : { maximum: high }),
        ...(preset === undefined ? {} : { default: preset }),
      },
    ];
  });
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Training configuration',
    type: 'object',
    additionalProperties: false,
    required: ['training'],
    properties: {
      $schema: { type: 'string' },
      training: { type: 'object', additionalProperties: false, properties: Object.fromEntries(properties) },
    },
  };
}

/** What is no JSON stays as it is, and is refused. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function unknownKeys(value: Record<string, unknown>, known: readonly string[], prefix: string): string[] {
  return Object.keys(value)
    .filter((key) => !known.includes(key))
    .map((key) => `${prefix}${key}: unknown key, did you mean ${prefix}${nearest(key, known)}?`);
}

function invalid(source: string, failures: readonly string[]): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${source}: ${failures.join('; ')}`, { failures });
}
