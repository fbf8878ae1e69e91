import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { LabelArray } from '../data/arrow-shard.ts';
import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';
import { rowWeights } from './class-weights.ts';
import { customProblem } from './custom-error.ts';
import type { Objective } from './custom-module.ts';
import { buildModel, type ExportedModel, exportModel, LOGITS_LAYER, namedWeights } from './model.ts';
import { rowLossOf } from './named-loss.ts';
import { type Coverage, compileStep, coverage } from './native/compile.ts';
import { nativeBackend } from './native/session.ts';
import { type PrivateStep, privateGradients } from './privacy/private-gradients.ts';
import { privacyTerms } from './privacy/terms.ts';
import type { NamedTensor } from './safetensors.ts';

/** Rows of a batch; the arrays may be longer and are the caller's to use again once a call has returned. */
export interface Batch {
  readonly features: Float32Array;
  readonly labels: LabelArray;
  readonly rows: number;
}

export interface Evaluation {
  readonly lossSum: number;
  readonly correct: number;
  /**
   * Of a custom model: its metrics, each times the rows.
   * @default - loss and accuracy
   */
  readonly sums?: Readonly<Record<string, number>>;
  /**
   * Number of the largest output, of each row.
   * @default - of a custom model whose outputs are not the classes of its labels
   */
  readonly predicted?: ArrayLike<number>;
}

/** A model in training. The backend must have been started. */
export interface Engine {
  /** Whether steps are one graph of native kernels, or tfjs's own and why. */
  readonly coverage: Coverage;
  /**
   * One gradient step.
   * @param rate learning rate of this and later steps; - the configuration's
   */
  step(batch: Batch, rate?: number): void;
  /** Mean loss of the last step, NaN before the first. Reading waits for nothing but costs a copy: not for every step. */
  loss(): number;
  evaluate(batch: Batch): Evaluation;
  /** Weights and optimizer state, all of it: {@link restore} on a new engine continues to the same bits. */
  snapshot(): NamedTensor[];
  /** @throws {@link SecureTrainingError} `CONFIG_INVALID` where names or shapes differ from this model's */
  restore(tensors: readonly NamedTensor[]): void;
  /** A copy of the model's weights alone, for {@link load}. */
  weights(): NamedTensor[];
  /** Takes weights to start from. @throws {@link SecureTrainingError} `CONFIG_INVALID` where names or shapes differ from this model's */
  load(tensors: readonly NamedTensor[]): void;
  exportModel(): Promise<ExportedModel>;
  /** Whether the native backend would make steps one graph; answered on whatever backend. */
  nativeCoverage(): Coverage;
  /** Tensors there are, of tfjs and of the native addon: a training that goes well has always as many. */
  tensorCount(): number;
  dispose(): void;
}

/** Why a model trains on tfjs's own gradients, beside what its layers say. */
const OWN_LOSS = "the loss is the module's own";
const PRIVATE = 'with privacy, gradients are clipped row by row';
const NOT_COVERED = 'not covered: weight_decay';

/** What tfjs 4.22's Adam keeps between steps (tfjs-core adam_optimizer.ts); private there. */
interface AdamState {
  readonly accBeta1: tf.Variable;
  readonly accBeta2: tf.Variable;
  accumulatedFirstMoment: { originalName: string; variable: tf.Variable }[];
  accumulatedSecondMoment: { originalName: string; variable: tf.Variable }[];
  /** Read at each step. */
  learningRate: number;
}

/** Likewise of tfjs 4.22's momentum (tfjs-core momentum_optimizer.ts). */
interface MomentumState {
  accumulations: { originalName: string; variable: tf.Variable }[];
}

/**
 * @param custom a model of somebody's own, instead of the one that the configuration describes
 * @param perClass weight of each class in the loss of a step; - 1 each
 */
export function createEngine(config: TrainingConfig, custom?: Objective, perClass?: Float32Array): Engine {
  const { input_size, output_size, learning_rate, optimizer: kind, momentum = 0, weight_decay = 0 } = config.training;
  const model = custom?.model ?? buildModel(config);
  const weights = namedWeights(model);
  // Before logitsModel: what is not trained (moving means) has no gradient, and comes last.
  const variables = weights.map(({ variable }) => variable).slice(0, model.trainableWeights.length);
  const kernels = weight_decay === 0 ? [] : variables.filter((_, i) => weights[i]?.name.endsWith('kernel'));
  const logitsModel =
    custom === undefined
      ? tfl.model({ inputs: model.inputs, outputs: model.getLayer(LOGITS_LAYER).output as tfl.SymbolicTensor })
      : model;
  const sgd =
    kind === 'adam'
      ? undefined
      : momentum > 0
        ? tf.train.momentum(learning_rate, momentum)
        : tf.train.sgd(learning_rate);
  const optimizer = sgd ?? tf.train.adam(learning_rate);
  const heavy = sgd !== undefined && momentum > 0 ? (sgd as unknown as MomentumState) : undefined;
  const compiledOptimizer = momentum > 0 ? ({ kind: 'momentum', momentum } as const) : { kind };
  const adam = kind === 'adam' ? (optimizer as unknown as AdamState) : undefined;
  const privately = privateStep(config, model, custom);
  let lastLoss: tf.Scalar | undefined;
  let privateLoss = 0;

  const inputs = ({ features, labels, rows }: Batch) => ({
    x: tf.tensor2d(features.subarray(0, rows * input_size), [rows, input_size]),
    y: tf.oneHot(tf.tensor1d(labels.subarray(0, rows), 'int32'), output_size),
  });

  /** Every tensor that a snapshot holds, by name; Adam's moments are made, as tfjs makes them, as zeros at first use. */
  const state = (): { name: string; variable: tf.Variable }[] => {
    const trained = weights.slice(0, variables.length);
    if (heavy !== undefined) {
      if (heavy.accumulations.length === 0) {
        heavy.accumulations = trained.map(({ name, variable }) => ({
          originalName: `${name}/momentum`,
          variable: tf.tidy(() => tf.variable(tf.zerosLike(variable), false)),
        }));
      }
      return [
        ...weights,
        ...heavy.accumulations.map(({ variable }, i) => ({ name: `${trained[i]?.name}/momentum`, variable })),
      ];
    }
    if (adam === undefined) return weights;
    for (const slot of ['accumulatedFirstMoment', 'accumulatedSecondMoment'] as const) {
      if (adam[slot].length > 0) continue;
      adam[slot] = trained.map(({ name, variable }) => ({
        originalName: `${name}/${slot}`,
        variable: tf.tidy(() => tf.variable(tf.zerosLike(variable), false)),
      }));
    }
    return [
      ...weights,
      ...adam.accumulatedFirstMoment.map(({ variable }, i) => ({ name: `${weights[i]?.name}/adam/m`, variable })),
      ...adam.accumulatedSecondMoment.map(({ variable }, i) => ({ name: `${weights[i]?.name}/adam/v`, variable })),
      // Stored and not computed from the step: repeated float32 products differ from a power in the last bits.
      { name: 'adam/accBeta1', variable: adam.accBeta1 },
      { name: 'adam/accBeta2', variable: adam.accBeta2 },
    ];
  };

  // Where the native backend computes: one graph of TensorFlow kernels, for the models that it covers.
  const compiled =
    privately !== undefined
      ? PRIVATE
      : weight_decay > 0
        ? NOT_COVERED
        : custom === undefined || custom.named !== undefined
          ? compileStep({ model: logitsModel, ...custom?.named, optimizer: compiledOptimizer, state: state() })
          : OWN_LOSS;
  const native = typeof compiled === 'string' ? undefined : compiled;
  let ahead = false;
  let stepRate = learning_rate;
  /** Brings the variables to where a compiled step has left them. */
  const settle = () => {
    if (ahead) native?.pull();
    ahead = false;
  };

  /** Decoupled from the gradient, and so from its clipping and noise too. */
  const decay = () =>
    tf.tidy(() => {
      for (const kernel of kernels) kernel.assign(tf.mul(kernel, 1 - stepRate * weight_decay));
    });

  return {
    coverage: typeof compiled === 'string' ? { covers: false, reason: compiled } : { covers: true },
    step(batch, rate) {
      stepRate = rate ?? stepRate;
      if (native !== undefined) {
        native.run(batch, stepRate, perClass && rowWeights(perClass, batch).map((weight) => weight / batch.rows));
        ahead = true;
        return;
      }
      if (rate !== undefined) {
        if (adam !== undefined) adam.learningRate = rate;
        sgd?.setLearningRate(rate);
      }
      if (privately !== undefined) {
        const { gradients, loss } = privately(batch);
        decay();
        optimizer.applyGradients(variables.map(({ name }, i) => ({ name, tensor: gradients[i] as tf.Tensor })));
        tf.dispose(gradients);
        // An empty batch has none: what was last seen stands.
        privateLoss = loss ?? privateLoss;
        return;
      }
      tf.tidy(() => {
        const loss = () => {
          if (custom !== undefined) return custom.loss(batch);
          const { x, y } = inputs(batch);
          const weights = perClass && tf.tensor1d(rowWeights(perClass, batch));
          return tf.losses.softmaxCrossEntropy(y, logitsModel.apply(x) as tf.Tensor, weights) as tf.Scalar;
        };
        const { value, grads } = tf.variableGrads(loss, variables);
        decay();
        optimizer.applyGradients(variables.map(({ name }) => ({ name, tensor: grads[name] as tf.Tensor })));
        lastLoss?.dispose();
        lastLoss = tf.keep(value);
      });
    },
    loss: () =>
      (privately === undefined ? undefined : privateLoss) ?? native?.loss() ?? lastLoss?.dataSync()[0] ?? Number.NaN,
    evaluate(batch) {
      settle();
      if (custom !== undefined) return custom.evaluate(batch);
      return tf.tidy(() => {
        const { x, y } = inputs(batch);
        const logits = logitsModel.apply(x) as tf.Tensor;
        const loss = tf.losses.softmaxCrossEntropy(y, logits, undefined, undefined, tf.Reduction.SUM);
        const predicted = tf.argMax(logits, 1);
        const correct = tf.sum(tf.cast(tf.equal(predicted, tf.argMax(y, 1)), 'int32'));
        return {
          lossSum: loss.dataSync()[0] ?? Number.NaN,
          correct: correct.dataSync()[0] ?? 0,
          predicted: predicted.dataSync(),
        };
      });
    },
    snapshot() {
      settle();
      return state().map(({ name, variable }) => ({
        name,
        shape: variable.shape,
        values: variable.dataSync() as Float32Array,
      }));
    },
    weights() {
      settle();
      return weights.map(({ name, variable }) => ({
        name,
        shape: variable.shape,
        values: variable.dataSync().slice() as Float32Array,
      }));
    },
    restore(tensors) {
      assign('checkpoint has', state(), tensors);
      native?.push();
      ahead = false;
    },
    load(tensors) {
      settle();
      assign('initial weights have', weights, tensors);
      native?.push();
    },
    exportModel() {
      settle();
      return exportModel(model);
    },
    nativeCoverage() {
      if (privately !== undefined) return { covers: false, reason: PRIVATE };
      if (weight_decay > 0) return { covers: false, reason: NOT_COVERED };
      if (custom !== undefined && custom.named === undefined) return { covers: false, reason: OWN_LOSS };
      return coverage({ model: logitsModel, ...custom?.named, optimizer: compiledOptimizer });
    },
    tensorCount: () => tf.memory().numTensors + (nativeBackend()?.binding.getNumOfTensors() ?? 0),
    dispose() {
      native?.dispose();
      lastLoss?.dispose();
      optimizer.dispose();
      // logitsModel shares its layers with model, which owns them.
      model.dispose();
    },
  };
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for a model that has no gradient of one row by itself */
function privateStep(
  config: TrainingConfig,
  model: tfl.LayersModel,
  custom: Objective | undefined,
): ((batch: Batch) => PrivateStep) | undefined {
  const terms = privacyTerms(config);
  if (terms === undefined || config.training.epochs === 0) return undefined;
  const { input_size, batch_size } = config.training;
  const rowLoss = rowLossOf(
    custom === undefined ? 'softmaxCrossEntropy' : (custom.named?.loss ?? 'binaryCrossentropy'),
  );
  if (rowLoss === undefined) {
    const message = `privacy_noise: the loss of a row is not known, wanted loss: 'softmaxCrossEntropy' or 'meanSquaredError'`;
    throw custom === undefined ? new SecureTrainingError('CONFIG_INVALID', message) : customProblem('privacy', message);
  }
  const inputs =
    custom?.inputs ??
    (({ features, labels, rows }: Batch) => ({
      x: tf.tensor2d(features, [rows, input_size]),
      y: tf.tensor1d(labels, 'int32'),
    }));
  try {
    // The declarative model ends with a softmax, whose logits the loss is taken of.
    return privateGradients({
      model,
      rowLoss,
      ending: custom === undefined ? 1 : 0,
      terms,
      expectedRows: batch_size,
      inputs,
    });
  } catch (error) {
    throw custom === undefined ? error : customProblem('privacy', (error as Error).message);
  }
}

function assign(
  what: string,
  wanted: readonly { readonly name: string; readonly variable: tf.Variable }[],
  tensors: readonly NamedTensor[],
): void {
  const found = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const failures = wanted
    .filter(({ name, variable }) => !fits(found.get(name), variable.shape))
    .map(({ name, variable }) => `${name} of shape [${variable.shape}]`);
  if (failures.length > 0 || found.size !== wanted.length) {
    const message = `${what} ${found.size} tensors, wanted ${wanted.length}; it lacks: ${failures.join(', ')}`;
    throw new SecureTrainingError('CONFIG_INVALID', message, { failures });
  }
  tf.tidy(() => {
    for (const { name, variable } of wanted) {
      variable.assign(tf.tensor(found.get(name)?.values as Float32Array, variable.shape, 'float32'));
    }
  });
}

function fits(tensor: NamedTensor | undefined, shape: readonly number[]): boolean {
  return tensor?.values instanceof Float32Array && tensor.shape.join() === shape.join();
}
