import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import type { LossName } from '../model-definition.ts';
import type { NativeBackend } from './binding.ts';
import { attribute, FLOAT, Graph, INT32, type Output } from './graph.ts';
import { type LayerPass, layerPass } from './layers.ts';
import { activationBefore, addLoss, type Labels } from './losses.ts';
import { numberPlaceholders, type Optimizer, POWERS, StepNumbers, slotsOf, updateWeight } from './optimizers.ts';
import { nativeBackend, openSession } from './session.ts';

export interface CompileOptions {
  /** One chain of layers from one input to one output, `[null, …]`. */
  readonly model: tfl.LayersModel;
  /** @default softmaxCrossEntropy */
  readonly loss?: LossName;
  /** @default classes */
  readonly labels?: Labels;
  readonly optimizer: Optimizer;
  /** Everything that a snapshot holds, by its name there: weights `layer/weight`, then what the optimizer keeps. */
  readonly state: readonly NamedVariable[];
}

interface NamedVariable {
  readonly name: string;
  readonly variable: tf.Variable;
}

/** Whether a model trains on kernels put together here, or on tfjs's own gradients and why. */
export type Coverage = { readonly covers: true } | { readonly covers: false; readonly reason: string };

/** A training step as one TensorFlow graph. While it trains, weights and optimizer state are its own. */
export interface CompiledStep {
  /** One gradient step. `rowWeights` multiply each row's loss, and all of them together make the mean. */
  run(batch: StepBatch, learningRate: number, rowWeights?: Float32Array): void;
  /** Loss of the last step, NaN before the first. Only this waits for a value. */
  loss(): number;
  /** Brings the state's variables to where the last step left them. */
  pull(): void;
  /** Goes on from what the state's variables hold. */
  push(): void;
  dispose(): void;
}

/** Rows of a batch; the arrays may be longer. */
export interface StepBatch {
  readonly features: Float32Array;
  /** Int32 for classes, float32 for values. */
  readonly labels: Int32Array | Float32Array;
  readonly rows: number;
}

type PlanOptions = Omit<CompileOptions, 'state'>;

interface Plan {
  readonly graph: Graph;
  readonly labels: Labels;
  /** Sizes of a row. */
  readonly rowShape: readonly number[];
  /** What its variables hold, by names of the state. */
  readonly variables: readonly string[];
}

/** @returns whether {@link compileStep} takes the model; nothing is computed, and the backend need not have been started */
export function coverage(options: PlanOptions): Coverage {
  const plan = planStep(options);
  return typeof plan === 'string' ? { covers: false, reason: plan } : { covers: true };
}

/** @returns the step, or why the model trains on tfjs's own gradients */
export function compileStep(options: CompileOptions): CompiledStep | string {
  const backend = nativeBackend();
  if (backend === undefined) return `the backend is ${tf.getBackend()}, not native`;
  const plan = planStep(options);
  return typeof plan === 'string' ? plan : startStep(backend, plan, options);
}

/** Names of the graph's own nodes. */
const X = 'x';
const Y = 'y';
const ROW_WEIGHTS = 'row_weights';
const STEP = 'step';
const LOADED = 'loaded';
/** Of a variable, by its place in the plan: a layer may have any name, a node not. */
const handleNode = (index: number) => `variable/${index}`;
const givenNode = (index: number) => `given/${index}`;
const valueNode = (index: number) => `value/${index}`;

/** The whole step as a graph: forward, loss, backward, updates. */
function planStep({
  model,
  optimizer,
  loss: lossName = 'softmaxCrossEntropy',
  labels = 'classes',
}: PlanOptions): Plan | string {
  const chain = chainOf(model);
  if (typeof chain === 'string') return chain;
  const [first] = chain;
  const rowShape = first?.shape.slice(1).flatMap((size) => size ?? []) ?? [];
  const logits = chain.at(-1)?.shape ?? [];
  if (first === undefined || rowShape.length !== first.shape.length - 1) return 'the input has sizes that change';
  if (logits.length !== 2) return `the logits have ${logits.length} dimensions, not 2`;

  const graph = new Graph();
  graph.placeholder(X, FLOAT, [-1, ...rowShape]);
  graph.placeholder(Y, labels === 'classes' ? INT32 : FLOAT, [-1]);
  graph.placeholder(ROW_WEIGHTS, FLOAT, [-1]);
  numberPlaceholders(graph, optimizer);
  const variables: string[] = [];
  const addVariable = (name: string, shape: readonly number[]) => variableNodes(graph, variables.push(name) - 1, shape);

  const before = activationBefore(lossName);
  const last = chain.at(-1)?.sourceLayer;
  if (before !== undefined && last?.getConfig().activation !== before) return `${lossName} wants ${before} at the end`;
  const passes: (LayerPass & Learning)[] = [];
  let output: Output = X;
  for (const tensor of chain) {
    const layer = tensor.sourceLayer;
    const learning = learningOf(layer, optimizer, addVariable);
    const read = (name: string) =>
      graph.add('ReadVariableOp', [learning.handles.get(name)?.[0] ?? ''], { dtype: attribute.type(FLOAT) });
    const pass = layerPass(graph, tensor, output, read, layer === last ? before : undefined);
    if (typeof pass === 'string') return `layer ${layer.name} (${layer.getClassName()}) ${pass}`;
    passes.push({ ...pass, ...learning });
    output = pass.output;
  }
  if (passes.every(({ learns }) => !learns)) return 'no layer learns';

  const width = logits[1] ?? 0;
  const added = addLoss(graph, { loss: lossName, labels, outputs: output, width, label: Y, rowWeights: ROW_WEIGHTS });
  if (typeof added === 'string') return added;
  const { loss, gradient } = added;
  const updates = addBackward(graph, optimizer, passes, gradient);
  graph.float('Identity', [loss, ...updates.map((update) => `^${update}`)], {}, STEP);
  const assigned = variables.map((_, index) => addAssignment(graph, index));
  graph.add('Identity', [graph.number(0), ...assigned.map((name) => `^${name}`)], { T: attribute.type(FLOAT) }, LOADED);
  return { graph, labels, rowShape, variables };
}

/** Layers from input to output, each by the tensor that it makes; or why they are no chain. */
function chainOf(model: tfl.LayersModel): tfl.SymbolicTensor[] | string {
  if (model.inputs.length !== 1) return `the model has ${model.inputs.length} inputs`;
  if (model.outputs.length !== 1) return `the model has ${model.outputs.length} outputs`;
  const chain: tfl.SymbolicTensor[] = [];
  for (let tensor = model.outputs[0]; tensor !== undefined; tensor = tensor.inputs[0]) {
    const { sourceLayer, inputs } = tensor;
    if (inputs.length > 1) return `layer ${sourceLayer.name} has ${inputs.length} inputs`;
    if (chain.some((later) => later.sourceLayer === sourceLayer)) return `layer ${sourceLayer.name} is used twice`;
    chain.unshift(tensor);
  }
  return chain;
}

interface Learning {
  readonly learns: boolean;
  /** Handles of each weight and its slots, by the weight's name within its layer. */
  readonly handles: ReadonlyMap<string, readonly Output[]>;
  readonly trainable: ReadonlySet<string>;
}

function learningOf(
  layer: tfl.layers.Layer,
  optimizer: Optimizer,
  addVariable: (name: string, shape: readonly number[]) => Output,
): Learning {
  const handles = new Map<string, Output[]>();
  const trainable = new Set<string>();
  for (const weight of layer.weights) {
    const name = weight.originalName.split('/').at(-1) ?? '';
    const shape = weight.shape.map((size) => size ?? -1);
    const learns = layer.trainable && layer.trainableWeights.includes(weight);
    if (learns) trainable.add(name);
    const suffixes = learns ? ['', ...slotsOf(optimizer)] : [''];
    handles.set(
      name,
      suffixes.map((suffix) => addVariable(`${layer.name}/${name}${suffix}`, shape)),
    );
  }
  return { learns: trainable.size > 0, handles, trainable };
}

function variableNodes(graph: Graph, index: number, shape: readonly number[]): Output {
  const dtype = attribute.type(FLOAT);
  graph.placeholder(givenNode(index), FLOAT, shape);
  const attributes = { dtype, shape: attribute.shape(shape), shared_name: attribute.text(`${index}`) };
  const handle = graph.add('VarHandleOp', [], attributes, handleNode(index));
  graph.add('ReadVariableOp', [handle], { dtype }, valueNode(index));
  return handle;
}

function addAssignment(graph: Graph, index: number): Output {
  // A copy: a tensor of JavaScript's memory must not be released by one of TensorFlow's threads.
  const copy = graph.float('DeepCopy', [givenNode(index)]);
  return graph.add('AssignVariableOp', [handleNode(index), copy], { dtype: attribute.type(FLOAT) });
}

function addBackward(
  graph: Graph,
  optimizer: Optimizer,
  passes: readonly (LayerPass & Learning)[],
  lossGradient: Output,
): Output[] {
  const updates: Output[] = [];
  let gradient: Output | undefined = lossGradient;
  for (const [index, { backward, handles, trainable }] of [...passes.entries()].reverse()) {
    if (gradient === undefined) break;
    const wanted = passes.slice(0, index).some(({ learns }) => learns);
    if (!wanted && trainable.size === 0) break;
    const gradients = backward(gradient, wanted);
    const after = gradients.input === undefined ? [] : [gradients.input];
    for (const name of trainable) {
      const weightGradient = gradients.weights[name];
      if (weightGradient === undefined) throw new Error(`no gradient of ${name}`);
      updates.push(
        updateWeight({ graph, optimizer, handles: handles.get(name) ?? [], gradient: weightGradient, after }),
      );
    }
    gradient = gradients.input;
  }
  return updates;
}

function startStep(backend: NativeBackend, plan: Plan, { optimizer, state }: CompileOptions): CompiledStep | string {
  const { binding } = backend;
  const labelType = plan.labels === 'classes' ? binding.TF_INT32 : binding.TF_FLOAT;
  const byName = new Map(state.map(({ name, variable }) => [name, variable]));
  const lacking = plan.variables.find((name) => !byName.has(name));
  if (lacking !== undefined) return `the state has no ${lacking}`;
  const variables = plan.variables.map((name) => byName.get(name) as tf.Variable);
  const powers = POWERS.flatMap((name) => byName.get(name) ?? []);
  const numbers = new StepNumbers(optimizer);
  const session = openSession(binding, plan.graph.savedModel());
  const rowSize = plan.rowShape.reduce((product, size) => product * size, 1);
  let mean = new Float32Array(0);
  let lossId: number | undefined;

  const forgetLoss = () => {
    if (lossId !== undefined) binding.deleteTensor(lossId);
    lossId = undefined;
  };
  const floats = (values: Float32Array, shape: readonly number[] = []) =>
    binding.createTensor(shape, binding.TF_FLOAT, values);
  const meanOf = (rows: number) => {
    if (mean.length !== rows) mean = new Float32Array(rows).fill(1 / rows);
    return mean;
  };

  const step: CompiledStep = {
    run({ features, labels, rows }, learningRate, rowWeights = meanOf(rows)) {
      const inputs: Record<string, number> = {
        [X]: floats(features.subarray(0, rows * rowSize), [rows, ...plan.rowShape]),
        [Y]: binding.createTensor([rows], labelType, labels.subarray(0, rows)),
        [ROW_WEIGHTS]: floats(rowWeights.subarray(0, rows), [rows]),
      };
      for (const [name, value] of Object.entries(numbers.values(learningRate))) {
        inputs[name] = floats(Float32Array.of(value));
      }
      try {
        const [loss] = session.run(inputs, [STEP]);
        forgetLoss();
        lossId = loss?.id;
      } finally {
        for (const id of Object.values(inputs)) binding.deleteTensor(id);
      }
      numbers.advance();
    },
    loss: () => (lossId === undefined ? Number.NaN : (binding.tensorDataSync(lossId)[0] ?? Number.NaN)),
    pull() {
      const values = session.run(
        {},
        plan.variables.map((_, index) => valueNode(index)),
      );
      for (const [i, described] of values.entries()) {
        const value = backend.createOutputTensor(described);
        variables[i]?.assign(value);
        value.dispose();
      }
      for (const [i, variable] of powers.entries()) {
        tf.tidy(() => variable.assign(tf.scalar(numbers.powers[i] ?? Number.NaN)));
      }
    },
    push() {
      const ids = backend.getInputTensorIds(variables);
      const given = Object.fromEntries(ids.map((id, index) => [givenNode(index), id]));
      for (const { id } of session.run(given, [LOADED])) binding.deleteTensor(id);
      const [power1, power2] = powers.map((variable) => variable.dataSync()[0] ?? Number.NaN);
      if (power1 !== undefined && power2 !== undefined) numbers.powers = [power1, power2];
    },
    dispose() {
      forgetLoss();
      session.close();
    },
  };
  step.push();
  return step;
}
