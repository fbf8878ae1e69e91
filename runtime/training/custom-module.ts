import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { CUSTOM_CODE_FILE } from '../catalogue.ts';
import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';
import { customProblem, moduleFiles } from './custom-error.ts';
import type { Batch, Engine, Evaluation } from './engine.ts';
import type { ShardRows } from './feed.ts';
import type { InputSchema, ShardHeader, StartHeader } from './frames.ts';
import { namedWeights } from './model.ts';
import {
  type BatchFunction,
  type DatasetDefinition,
  isDefinition,
  type LossName,
  type ModelConfig,
  type ModelDefinition,
  type TensorFlow,
} from './model-definition.ts';
import { namedAccuracy, namedClass, namedLoss } from './named-loss.ts';

export interface CustomModules {
  /** @default - the declarative model */
  readonly model?: ModelDefinition;
  /** @default - shards are Arrow files */
  readonly dataset?: DatasetDefinition;
}

/** Frames of tfjs between an error and the module's own line. */
const STACK_FRAMES = 60;

/** One namespace, as `@tensorflow/tfjs` would be. */
const TENSORFLOW = { ...tf, ...tfl } as unknown as TensorFlow;

/**
 * Loads what a configuration names from the worker's own folder.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where it is not there or is something else
 */
export async function loadCustomModules(folder: string, config: TrainingConfig): Promise<CustomModules> {
  if (moduleFiles(config).length === 0) return {};
  const path = join(folder, CUSTOM_CODE_FILE);
  if (!existsSync(path))
    throw new SecureTrainingError('CONFIG_INVALID', `the trainer bundle has no ${CUSTOM_CODE_FILE}`);
  // So that a stack names the author's own files and lines.
  process.setSourceMapsEnabled(true);
  Error.stackTraceLimit = STACK_FRAMES;
  const exported = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  const { model, dataset } = config.training;
  for (const [kind, file] of [['model', model] as const, ['dataset', dataset] as const]) {
    if (file === undefined || isDefinition(exported[kind], kind)) continue;
    throw customProblem(
      'definition',
      `${file}: wanted 'export default define${kind === 'model' ? 'Model' : 'Dataset'}({ … })'`,
    );
  }
  const modules: CustomModules = {
    ...(model === undefined ? {} : { model: exported.model as ModelDefinition }),
    ...(dataset === undefined ? {} : { dataset: exported.dataset as DatasetDefinition }),
  };
  if (modules.model === undefined && modules.dataset?.toBatch !== undefined) {
    throw customProblem('definition', `${dataset}: toBatch needs a model of its own: training.model names none`);
  }
  return modules;
}

/** What the model sees: rows of a custom dataset are float32, of `input_size`, and normalised by nobody but itself. */
export function inputSchema({ config, schema }: StartHeader, { dataset }: CustomModules): InputSchema {
  if (dataset === undefined) return schema;
  const { classes } = schema;
  return { featureCount: config.training.input_size, dtype: 'float32', classes, normalisation: { kind: 'none' } };
}

/** Opens one shard with a custom dataset, and holds it to what the manifest says. */
export function shardOpener(
  { open }: DatasetDefinition,
  { config, schema, shards }: StartHeader,
): (bytes: Uint8Array, header: ShardHeader) => Promise<ShardRows> {
  const width = config.training.input_size;
  const isValue = schema.classes.length === 0;
  return async (bytes, { split, shard }) => {
    const rows = shards[split]?.[shard] ?? 0;
    const opened: unknown = await open(bytes, { split, shard, rows }, modelConfig(config, schema));
    const { features, labels } = (opened ?? {}) as Partial<ShardRows>;
    const where = `${split} shard ${shard}`;
    if (!(features instanceof Float32Array || features instanceof Uint8Array) || features.length !== rows * width) {
      throw customProblem(
        'rows',
        `${where}: features are ${sizeOf(features)}, wanted ${rows} rows of ${width}, Float32Array or Uint8Array`,
      );
    }
    const kind = isValue ? Float32Array : Int32Array;
    if (!(labels instanceof kind) || labels.length !== rows) {
      throw customProblem('rows', `${where}: labels are ${sizeOf(labels)}, wanted ${rows} in ${kind.name}`);
    }
    const classes = Math.max(schema.classes.length, config.training.output_size);
    const outside = isValue ? -1 : labels.findIndex((label) => !(label >= 0 && label < classes));
    if (outside >= 0)
      throw customProblem('labels', `${where}, row ${outside}: its label is not one of ${classes} classes`);
    return { features: features instanceof Uint8Array ? Float32Array.from(features) : features, labels, rows };
  };
}

/** A custom model as the engine uses it. */
export interface Objective {
  readonly model: tfl.LayersModel;
  /**
   * The loss by name, of the batch's own features and labels.
   * @default - it is the module's function, or its dataset makes the tensors: only {@link loss} knows it
   */
  readonly named?: { readonly loss: LossName; readonly labels: 'classes' | 'values' };
  /** Names of what {@link evaluate} measures beside the loss. */
  readonly metrics: readonly string[];
  /** Tensors of a batch: the model's input, and labels. */
  inputs(batch: Batch): { readonly x: tf.Tensor; readonly y: tf.Tensor };
  /** Mean loss of a batch. Inside a tidy. */
  loss(batch: Batch): tf.Scalar;
  evaluate(batch: Batch): Evaluation;
}

/**
 * Builds a custom model, and checks everything about it that can be checked without a row.
 * @throws CustomModuleError
 */
export async function customObjective(
  { model: definition, dataset }: CustomModules,
  { config, schema }: Pick<StartHeader, 'config' | 'schema'>,
): Promise<Objective | undefined> {
  if (definition === undefined) return undefined;
  const about = modelConfig(config, schema);
  const model = checkModel(await definition.build(TENSORFLOW, about), config);
  drawAnew(model.layers);
  const inner = model.inputs[0]?.shape.slice(1) as number[];
  const isValue = schema.classes.length === 0;
  // What toBatch makes of the labels only the module knows.
  const hasClasses = !isValue && dataset?.toBatch === undefined;
  const { loss } = definition;
  const lossOf: BatchFunction = typeof loss === 'string' ? (_, y, outputs) => namedLoss(loss, y, outputs) : loss;
  const classOf = (outputs: tf.Tensor) =>
    typeof loss === 'string' ? namedClass(loss, outputs) : tf.argMax(outputs, -1);
  const hits: BatchFunction = typeof loss === 'string' ? (_, y, outputs) => namedAccuracy(loss, y, outputs) : accuracy;
  const metrics: Readonly<Record<string, BatchFunction>> = definition.metrics ?? (isValue ? {} : { accuracy: hits });
  if (isValue && (loss === 'softmaxCrossEntropy' || loss === 'categoricalCrossentropy')) {
    throw customProblem('definition', `loss ${loss} wants classes, the labels are values`);
  }

  const tensors = ({ features, labels, rows }: Batch): { x: tf.Tensor; y: tf.Tensor } => {
    const width = config.training.input_size;
    const batch = { features: features.subarray(0, rows * width), labels: labels.subarray(0, rows), rows };
    if (dataset?.toBatch === undefined) {
      return {
        x: tf.tensor(batch.features, [rows, ...inner]),
        y: tf.tensor1d(batch.labels, isValue ? 'float32' : 'int32'),
      };
    }
    const { x, y } = (dataset.toBatch(TENSORFLOW, batch, about) ?? {}) as { x: unknown; y: unknown };
    const wanted = [rows, ...inner];
    return { x: tensorOf('x of toBatch', x, wanted), y: tensorOf('y of toBatch', y, [rows, ...shapeOf(y).slice(1)]) };
  };
  return {
    model,
    ...(typeof loss === 'string' &&
      dataset?.toBatch === undefined && { named: { loss, labels: isValue ? 'values' : 'classes' } }),
    metrics: Object.keys(metrics),
    inputs: tensors,
    loss(batch) {
      const { x, y } = tensors(batch);
      return tensorOf('loss', lossOf(TENSORFLOW, y, model.apply(x, { training: true }) as tf.Tensor), []) as tf.Scalar;
    },
    evaluate(batch) {
      const [values, predicted] = tf.tidy(() => {
        const { x, y } = tensors(batch);
        const outputs = model.apply(x) as tf.Tensor;
        const scalar = (name: string, value: BatchFunction) => tensorOf(name, value(TENSORFLOW, y, outputs), []);
        const measured = Object.entries(metrics).map(([name, metric]) => scalar(`metric ${name}`, metric));
        const all = [scalar('loss', lossOf), ...measured].map((each) => tf.cast(each, 'float32'));
        return [tf.stack(all), classOf(outputs)] as const;
      });
      const [loss = Number.NaN, ...means] = values.dataSync();
      const largest = hasClasses ? { predicted: predicted.dataSync() } : {};
      tf.dispose([values, predicted]);
      const sums = Object.keys(metrics).map((name, i) => [name, (means[i] ?? Number.NaN) * batch.rows] as const);
      return { lossSum: loss * batch.rows, correct: 0, sums: Object.fromEntries(sums), ...largest };
    },
  };
}

/** An engine that ends where a step or an evaluation leaves more tensors than there were. The first step makes the optimizer's. */
export function watchTensors(engine: Engine): Engine {
  let steps = 0;
  const watched = <T>(name: string, work: () => T): T => {
    const before = tf.memory().numTensors;
    const result = work();
    const kept = tf.memory().numTensors - before;
    if (kept > 0) {
      throw customProblem(
        'leak',
        `${name} left ${kept} tensors more than there were: what tf.keep or tf.variable makes has to be made in build`,
      );
    }
    return result;
  };
  return {
    ...engine,
    step: (batch, rate) =>
      steps++ === 0 ? engine.step(batch, rate) : watched('a step', () => engine.step(batch, rate)),
    evaluate: (batch) => watched('an evaluation', () => engine.evaluate(batch)),
  };
}

/** A dropout layer with a seed drops the same units at every step (tfjs-layers 4.22); without one, those of {@link withStepRandom}. */
function drawAnew(layers: readonly tfl.layers.Layer[]): void {
  for (const layer of layers as readonly (tfl.layers.Layer & { seed?: unknown; layers?: tfl.layers.Layer[] })[]) {
    if (layer.getClassName() === 'Dropout') delete layer.seed;
    drawAnew(layer.layers ?? []);
  }
}

function modelConfig({ training }: TrainingConfig, { classes }: InputSchema): ModelConfig {
  const { input_size, hidden_size, output_size, epochs, batch_size, seed } = training;
  return { input_size, hidden_size, output_size, epochs, batch_size, seed, classes };
}

const accuracy: BatchFunction = (_, labels, outputs) =>
  tf.mean(tf.cast(tf.equal(tf.argMax(outputs, -1), tf.cast(labels, 'int32')), 'float32'));

function checkModel(model: unknown, { training }: TrainingConfig): tfl.LayersModel {
  if (!(model instanceof tfl.LayersModel)) {
    throw customProblem('model', `build gave ${typeof model}, wanted a model of the tf that it was handed`);
  }
  const [input, output] = [model.inputs[0]?.shape ?? [], model.outputs[0]?.shape ?? []];
  const size = input.slice(1).reduce<number>((product, each) => product * (each ?? Number.NaN), 1);
  const failures: string[] = [];
  if (model.inputs.length !== 1 || size !== training.input_size) {
    failures.push(
      `${model.inputs.length} inputs, the first [${show(input)}]: wanted one whose sizes multiply to input_size ${training.input_size}`,
    );
  }
  if (model.outputs.length !== 1 || output.length !== 2 || output[1] !== training.output_size) {
    failures.push(
      `${model.outputs.length} outputs, the first [${show(output)}]: wanted one of [null, ${training.output_size}]`,
    );
  }
  if (model.trainableWeights.length === 0) failures.push('no trainable weight');
  const names = namedWeights(model).map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) failures.push(`two weights named ${twice}: give its layers names of their own`);
  if (failures.length > 0) throw customProblem('model', `build: ${failures.join('; ')}`);
  return model;
}

function tensorOf(name: string, value: unknown, shape: readonly number[]): tf.Tensor {
  if (typeof (value as { then?: unknown } | null | undefined)?.then === 'function') {
    throw customProblem(
      'promise',
      `${name}: found a promise, wanted a tensor: only build and open may be asynchronous`,
    );
  }
  if (value instanceof tf.Tensor && value.shape.join() === shape.join()) return value;
  const found = value instanceof tf.Tensor ? `a tensor of [${value.shape}]` : typeof value;
  throw customProblem(
    'shape',
    `${name}: found ${found}, wanted ${shape.length === 0 ? 'a scalar' : `a tensor of [${shape}]`}`,
  );
}

function shapeOf(value: unknown): readonly number[] {
  return value instanceof tf.Tensor ? value.shape : [];
}

function show(shape: readonly (number | null)[]): string {
  return shape.map(String).join(', ');
}

function sizeOf(value: unknown): string {
  return ArrayBuffer.isView(value)
    ? `${(value as unknown as ArrayLike<number>).length} in ${value.constructor.name}`
    : typeof value;
}
