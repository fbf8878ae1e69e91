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
    /** @default 0, plain gradient descent */
    readonly momentum?: number;
    /** @default 'constant' */
    readonly schedule?: 'constant' | 'cosine' | 'step';
    /** @default 0 */
    readonly warmup_steps?: number;
    /** @default 1000 */
    readonly decay_steps?: number;
    /** @default 0.1 */
    readonly decay_factor?: number;
    /** @default 0, never stops early */
    readonly early_stopping_epochs?: number;
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
    /** SHA-256 (hex) of a safetensors file to start from. @default - the seed decides */
    readonly initial_weights?: string;
  };
}

export type TrainingField = keyof TrainingConfig['training'];

/** Below the folder of the configuration: nothing of a machine's own paths stands in an agreement. */
const MODULE_PATH = /^(?:\.\/)?(?:[\w-][\w.-]*\/)*[\w-][\w.-]*\.[cm]?[jt]s$/;
const LONGEST_TEXT = 200;

interface FieldDefinition {
  readonly doc: string;
  readonly kind: 'whole' | 'number' | 'text' | readonly string[];
  /** Of a text, which may be left out and then is not there at all. */
  readonly form?: { readonly pattern: RegExp; readonly wanted: string };
  /** Lowest and highest value. */
  readonly range?: readonly [number, number];
  /** Whether the lowest value itself is refused. */
  readonly above?: true;
  /** @default - must be given, or fitted to the data */
  readonly default?: number | string;
  /**
   * Left out of the canonical form where it has its default. So it is with every field younger than the first agreements: the default
   * is what a trainer did before the field was there, so what was agreed and digested then still says the same in the same bytes.
   */
  readonly omitted?: true;
}

const whole = (doc: string, low: number, high: number, preset?: number): FieldDefinition => ({
  doc,
  kind: 'whole',
  range: [low, high],
  ...(preset === undefined ? {} : { default: preset }),
});

function moduleField(doc: string, field: string): FieldDefinition {
  const wanted = `a file such as ./${field}.ts in the configuration's folder`;
  return { doc, kind: 'text', form: { pattern: MODULE_PATH, wanted } };
}

/** The one definition: parsing, overriding, canonical order and the editors' JSON Schema are all derived from it. */
const FIELDS: Readonly<Record<TrainingField, FieldDefinition>> = {
  input_size: whole('Features of one row.', 1, 1_000_000),
  hidden_size: whole('Units of the hidden layer (relu).', 1, 65_536),
  output_size: whole('Classes (softmax).', 1, 65_536),
  epochs: whole('How often every row is learned from.', 1, 100_000, 3),
  batch_size: whole('Rows of one gradient step.', 1, 65_536, 128),
  optimizer: { doc: 'How gradients become steps.', kind: ['adam', 'sgd'], default: 'adam' },
  learning_rate: {
    doc: 'Size of a step, before the schedule.',
    kind: 'number',
    range: [0, 10],
    above: true,
    default: 0.001,
  },
  seed: whole('Decides initial weights and the order of rows.', 0, 2 ** 31 - 1, 42),
  checkpoint_steps: whole('Steps between two sealed checkpoints.', 1, 1_000_000_000, 200),
  shuffle_rows: whole('Rows that are shuffled together.', 1, 10_000_000, 32_768),
  momentum: {
    doc: 'Share of the last step that is kept (optimizer sgd only).',
    kind: 'number',
    range: [0, 0.9999],
    default: 0,
    omitted: true,
  },
  schedule: {
    doc: 'Learning rate over the steps: constant, cosine to 0 at the last step, or a factor every decay_steps.',
    kind: ['constant', 'cosine', 'step'],
    default: 'constant',
    omitted: true,
  },
  warmup_steps: {
    ...whole('First steps, over which the learning rate rises linearly.', 0, 1_000_000_000, 0),
    omitted: true,
  },
  decay_steps: { ...whole('Steps between two decays (schedule step).', 1, 1_000_000_000, 1000), omitted: true },
  decay_factor: {
    doc: 'What a decay multiplies the learning rate by (schedule step).',
    kind: 'number',
    range: [0, 1],
    above: true,
    default: 0.1,
    omitted: true,
  },
  early_stopping_epochs: {
    ...whole('Epochs without a lower validation loss after which training ends; 0 never.', 0, 100_000, 0),
    omitted: true,
  },
  model: moduleField("Module with a model of one's own (docs/custom-models.md).", 'model'),
  dataset: moduleField('Module that opens the sealed objects (docs/custom-models.md).', 'dataset'),
  initial_weights: {
    doc: 'SHA-256 of a safetensors file to start from.',
    kind: 'text',
    form: { pattern: /^[0-9a-f]{64}$/, wanted: '64 lower-case hex digits' },
  },
};

const NAMES = Object.keys(FIELDS) as TrainingField[];

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
  if (failures.length > 0) throw invalid(source, failures);
  const canonical = NAMES.filter((field) =>
    FIELDS[field].kind === 'text' || FIELDS[field].omitted ? merged[field] !== FIELDS[field].default : true,
  );
  return {
    training: Object.fromEntries(
      canonical.map((field) => [field, merged[field]]),
    ) as unknown as TrainingConfig['training'],
  };
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
  const typed = numeric && /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(value) ? Number(value) : value;
  const problem = check(FIELDS[field], typed);
  if (problem !== undefined) throw invalid('--set', [`${path}: ${problem}`]);
  return { [field]: typed };
}

const JSON_TYPES = { whole: 'integer', number: 'number', text: 'string' } as const;

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

function defaults(): Record<string, unknown> {
  return Object.fromEntries(
    NAMES.filter((name) => FIELDS[name].default !== undefined).map((name) => [name, FIELDS[name].default]),
  );
}

function check({ kind, range, above, form }: FieldDefinition, value: unknown): string | undefined {
  if (form !== undefined) {
    if (value === undefined) return undefined;
    const fits = typeof value === 'string' && value.length <= LONGEST_TEXT && form.pattern.test(value);
    return fits ? undefined : `found ${show(value)}, wanted ${form.wanted}`;
  }
  const [low = 0, high = Number.MAX_SAFE_INTEGER] = range ?? [];
  if (typeof kind === 'object') {
    const wanted = `${kind.slice(0, -1).join(', ')} or ${kind.at(-1)}`;
    return kind.some((each) => each === value) ? undefined : `found ${show(value)}, wanted ${wanted}`;
  }
  const inside = typeof value === 'number' && value <= high && (above ? value > low : value >= low);
  if (inside && (kind === 'number' || Number.isSafeInteger(value))) return undefined;
  const wanted =
    kind === 'whole'
      ? `a whole number from ${low} to ${high}`
      : above
        ? `a number above ${low}, at most ${high}`
        : `a number from ${low} to ${high}`;
  return `found ${show(value)}, wanted ${wanted}`;
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
