import type * as core from '@tensorflow/tfjs-core';
import type * as layers from '@tensorflow/tfjs-layers';

/**
 * What a model.ts or dataset.ts imports, as `confidential-training/model`: two functions and the types around them, and nothing
 * that runs. tfjs is handed in, so that there is one copy of it, on the backend that the trainer chose.
 */

/** tfjs-core and tfjs-layers as one namespace, as the package `@tensorflow/tfjs` shows them. */
export type TensorFlow = typeof core & typeof layers;
export type Tensor = core.Tensor;
export type Scalar = core.Scalar;
export type LayersModel = layers.LayersModel;

/** What a module may know of a run: the training configuration, complete, and the names of the classes. */
export interface ModelConfig {
  readonly input_size: number;
  readonly hidden_size: number;
  readonly output_size: number;
  readonly epochs: number;
  readonly batch_size: number;
  /** Hand it to initialisers and dropout: what draws without a seed makes a run that nobody can repeat. */
  readonly seed: number;
  /** In the order of their labels; empty where the labels are values. */
  readonly classes: readonly string[];
}

/** A function of a batch: `labels` int32 `[rows]` for classes, float32 `[rows]` for values; `outputs` what the model gave. */
export type BatchFunction = (tf: TensorFlow, labels: Tensor, outputs: Tensor) => Tensor;

/**
 * Losses that have a name: means over rows (and outputs), which the native backend computes within its own graph. The first three are
 * tfjs's `tf.losses`, the others `tf.metrics` of the same name.
 *
 * - `softmaxCrossEntropy`, `sigmoidCrossEntropy`: classes, of outputs without an activation;
 * - `categoricalCrossentropy`, `binaryCrossentropy`: the same of outputs that are probabilities, by softmax or sigmoid;
 * - `meanSquaredError`: values.
 *
 * One output stands for one number a row: a value, or the class, which is then 0 or 1. More of them want labels that are classes.
 */
export const LOSSES = [
  'softmaxCrossEntropy',
  'sigmoidCrossEntropy',
  'meanSquaredError',
  'categoricalCrossentropy',
  'binaryCrossentropy',
] as const;
export type LossName = (typeof LOSSES)[number];

export interface ModelDefinition {
  /**
   * A tfjs model with one input of `[null, …]`, whose sizes multiply to `input_size`, and one output of `[null, output_size]`.
   * It is not compiled: optimizer and learning rate are the configuration's.
   */
  readonly build: (tf: TensorFlow, config: ModelConfig) => LayersModel | Promise<LayersModel>;
  /**
   * One of {@link LOSSES}; or the mean loss of a batch, a scalar that has a gradient. A function is never part of the native backend's
   * graph, which costs most of its speed. Disposing is not its business: what it makes is disposed of after it.
   */
  readonly loss: LossName | BatchFunction;
  /**
   * Means over a batch, scalars; their mean over a whole split leaves the machine as `validation_NAME` and `test_NAME`, if the
   * agreement names them.
   * @default - `accuracy` where there are classes: how often the largest output is the label's (the nearer of 0 and 1, where there is
   * one output and a loss by name); else none
   */
  readonly metrics?: Readonly<Record<string, BatchFunction>>;
}

/** Where the bytes that are being opened stand. */
export interface ShardPlace {
  readonly split: string;
  readonly shard: number;
  /** Rows that the manifest says are in it. */
  readonly rows: number;
}

/** Rows side by side: row `i` is `features[i * input_size …]`, its label `labels[i]`: a class from 0, or a value. */
export interface OpenedRows {
  readonly features: Float32Array | Uint8Array;
  readonly labels: Int32Array | Float32Array;
}

/** Rows of one batch, in the order in which they are trained on. */
export interface RowBatch extends OpenedRows {
  readonly features: Float32Array;
  readonly rows: number;
}

export interface DatasetDefinition {
  /** Parses what one sealed object holds. It must give as many rows as the manifest says, the same ones every time. */
  readonly open: (bytes: Uint8Array, place: ShardPlace, config: ModelConfig) => OpenedRows | Promise<OpenedRows>;
  /**
   * Tensors of a batch: `x` as the model's input, `y` as `loss` and `metrics` get their labels.
   * @default - `x` float32 in the shape of the model's input; `y` int32 for classes, float32 for values, `[rows]`
   */
  readonly toBatch?: (
    tf: TensorFlow,
    batch: RowBatch,
    config: ModelConfig,
  ) => { readonly x: Tensor; readonly y: Tensor };
}

/**
 * The default export of a model.ts.
 * @example export default defineModel({ build: (tf, config) => tf.sequential({ … }), loss: (tf, labels, outputs) => … })
 * @throws TypeError where a member is missing, is no function (nor, for `loss`, a name), or is not known
 */
export function defineModel(definition: ModelDefinition): ModelDefinition {
  const named = isLossName((definition as Partial<ModelDefinition> | null)?.loss);
  requireMembers(
    'defineModel',
    definition,
    named ? ['build'] : ['build', 'loss'],
    named ? ['loss', 'metrics'] : ['metrics'],
  );
  const { metrics = {} } = definition;
  for (const [name, metric] of Object.entries(metrics)) {
    if (!/^[A-Za-z][A-Za-z0-9_]{0,40}$/.test(name) || name === 'loss') {
      throw new TypeError(`defineModel: metric ${name}: wanted letters, digits and _, first a letter, and not 'loss'`);
    }
    if (typeof metric !== 'function') throw new TypeError(`defineModel: metric ${name} is not a function`);
  }
  return Object.freeze({ ...definition, [KIND]: 'model' });
}

/**
 * The default export of a dataset.ts.
 * @throws TypeError where a member is missing, is no function, or is not known
 */
export function defineDataset(definition: DatasetDefinition): DatasetDefinition {
  requireMembers('defineDataset', definition, ['open'], ['toBatch']);
  if (definition.toBatch !== undefined && typeof definition.toBatch !== 'function') {
    throw new TypeError('defineDataset: toBatch is not a function');
  }
  return Object.freeze({ ...definition, [KIND]: 'dataset' });
}

/** Marks what the two functions made; a symbol by name, because the module brings its own copy of this file. */
const KIND = Symbol.for('confidential-training/model');

/** Whether a value came out of {@link defineModel} or {@link defineDataset}. */
export function isDefinition(value: unknown, kind: 'model' | 'dataset'): boolean {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[KIND] === kind;
}

function isLossName(value: unknown): value is LossName {
  return LOSSES.some((name) => name === value);
}

function requireMembers(
  name: string,
  definition: unknown,
  functions: readonly string[],
  optional: readonly string[],
): void {
  if (typeof definition !== 'object' || definition === null) throw new TypeError(`${name}: wanted an object`);
  const given = definition as Record<string, unknown>;
  const missing = functions.filter((member) => typeof given[member] !== 'function');
  const names = missing.includes('loss') ? `; a loss may be one of ${LOSSES.join(', ')}` : '';
  if (missing.length > 0) throw new TypeError(`${name}: wanted functions ${missing.join(' and ')}${names}`);
  const unknown = Object.keys(given).filter((member) => ![...functions, ...optional].includes(member));
  if (unknown.length > 0) throw new TypeError(`${name}: ${unknown.join(', ')} is no member of it`);
}
