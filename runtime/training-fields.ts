import type { TrainingConfig } from './training-config.ts';

export type TrainingField = keyof TrainingConfig['training'];

/** Below the folder of the configuration: nothing of a machine's own paths stands in an agreement. */
const MODULE_PATH = /^(?:\.\/)?(?:[\w-][\w.-]*\/)*[\w-][\w.-]*\.[cm]?[jt]s$/;
export const LONGEST_TEXT = 200;
/** As many datasets as an agreement may name owners, and more. */
const MOST_WEIGHTS = 1000;
export const MOST_WEIGHT = 1_000_000;

interface FieldDefinition {
  readonly doc: string;
  readonly kind: 'whole' | 'number' | 'text' | 'weights' | readonly string[];
  /** Of weights: what has one each. */
  readonly of?: 'dataset' | 'class';
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
export const FIELDS: Readonly<Record<TrainingField, FieldDefinition>> = {
  input_size: whole('Features of one row.', 1, 1_000_000),
  hidden_size: whole('Units of the hidden layer (relu).', 1, 65_536),
  output_size: whole('Classes (softmax).', 1, 65_536),
  epochs: whole('How often every row is learned from; 0 only measures the initial weights.', 0, 100_000, 5),
  batch_size: whole('Rows of one gradient step.', 1, 65_536, 128),
  optimizer: { doc: 'How gradients become steps.', kind: ['adam', 'sgd'], default: 'adam' },
  learning_rate: {
    doc: 'Size of a step, before the schedule.',
    kind: 'number',
    range: [0, 10],
    above: true,
    default: 0.002,
  },
  seed: whole('Decides initial weights and the order of rows.', 0, 2 ** 31 - 1, 42),
  checkpoint_steps: whole(
    'Steps between two sealed checkpoints; 0 takes one as often as costs less than a hundredth of the time.',
    0,
    1_000_000_000,
    0,
  ),
  checkpoints_kept: { ...whole('Newest checkpoints that stay.', 1, 1000, 3), omitted: true },
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
    default: 'cosine',
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
    ...whole('Validations without a lower loss after which training ends; 0 never.', 0, 100_000, 0),
    omitted: true,
  },
  keep: {
    doc: 'Whose weights the model has: the last step (last), or the lowest validation loss (best).',
    kind: ['last', 'best'],
    default: 'last',
    omitted: true,
  },
  validation_epochs: {
    ...whole('Epochs between two validations; the last epoch always has one.', 1, 100_000, 1),
    omitted: true,
  },
  max_steps: { ...whole('Steps after which training ends; 0 for none.', 0, 1_000_000_000, 0), omitted: true },
  max_minutes: {
    doc: 'Minutes of training, over all resumes, after which it ends; 0 for none. Where it ends is not reproducible.',
    kind: 'number',
    range: [0, 1_000_000],
    default: 0,
    omitted: true,
  },
  privacy_noise: {
    doc: 'Differential privacy for each row (docs/privacy.md): noise, in multiples of privacy_clip_norm; 0 for none.',
    kind: 'number',
    range: [0, 1000],
    default: 0,
    omitted: true,
  },
  privacy_clip_norm: {
    doc: "Largest norm of one row's gradient, with privacy.",
    kind: 'number',
    range: [0, 1_000_000],
    above: true,
    default: 1,
    omitted: true,
  },
  privacy_delta: {
    doc: 'Probability with which the promise of privacy may fail; below one in the number of rows.',
    kind: 'number',
    range: [0, 0.1],
    above: true,
    default: 0.00001,
    omitted: true,
  },
  privacy_budget: {
    doc: 'Epsilon that a run may spend: it ends before the step that would spend more; 0 for no limit.',
    kind: 'number',
    range: [0, 1_000_000],
    default: 0,
    omitted: true,
  },
  backend: {
    doc: 'What computes: native where the trainer has it and else wasm (auto), or this one and no other.',
    kind: ['auto', 'native', 'wasm', 'cpu'],
    default: 'auto',
    omitted: true,
  },
  model: moduleField("Module with a model of one's own (docs/custom-models.md).", 'model'),
  dataset: moduleField('Module that opens the sealed objects (docs/custom-models.md).', 'dataset'),
  dataset_weights: {
    doc: 'How much each dataset gives to an epoch: a number above 0 for each by name; only their proportion counts.',
    kind: 'weights',
    of: 'dataset',
  },
  class_weights: {
    doc: 'How much a row of a class counts in the loss that is learned from: a number above 0 by name, 1 where none is given.',
    kind: 'weights',
    of: 'class',
  },
  weight_decay: {
    doc: 'Share of the kernels, times the learning rate, that each step takes off beside its gradient (as AdamW does).',
    kind: 'number',
    range: [0, 1],
    default: 0,
    omitted: true,
  },
  initial_weights: {
    doc: 'SHA-256 of a safetensors file to start from.',
    kind: 'text',
    form: { pattern: /^[0-9a-f]{64}$/, wanted: '64 lower-case hex digits' },
  },
};

export const NAMES = Object.keys(FIELDS) as TrainingField[];

/** Every field that has a default, with it. */
export function defaults(): Record<string, unknown> {
  return Object.fromEntries(
    NAMES.filter((name) => FIELDS[name].default !== undefined).map((name) => [name, FIELDS[name].default]),
  );
}

/** Whether a field is there only where something is not as usual. */
export function isOptional({ kind, omitted }: FieldDefinition): boolean {
  return kind === 'text' || kind === 'weights' || omitted === true;
}

function areWeights(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const entries = Object.entries(value);
  return (
    entries.length > 0 &&
    entries.length <= MOST_WEIGHTS &&
    entries.every(
      ([name, weight]) =>
        name.length <= LONGEST_TEXT && typeof weight === 'number' && weight > 0 && weight <= MOST_WEIGHT,
    )
  );
}

/** What is wrong with a value, if anything. */
export function check({ kind, range, above, form, of }: FieldDefinition, value: unknown): string | undefined {
  if (form !== undefined) {
    if (value === undefined) return undefined;
    const fits = typeof value === 'string' && value.length <= LONGEST_TEXT && form.pattern.test(value);
    return fits ? undefined : `found ${show(value)}, wanted ${form.wanted}`;
  }
  if (kind === 'weights') {
    if (value === undefined || areWeights(value)) return undefined;
    return `found ${show(value)}, wanted a number above 0, at most ${MOST_WEIGHT}, for each ${of} by name`;
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

/** A value as a message may quote it. */
export function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
