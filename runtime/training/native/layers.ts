import type * as tfl from '@tensorflow/tfjs-layers';
import { type Attributes, attribute, FLOAT, type Graph, INT32, type Output } from './graph.ts';

/** Reads the value that a layer's weight has before the step. */
export type ReadWeight = (name: string) => Output;

/** What a layer adds to the graph. */
export interface LayerPass {
  readonly output: Output;
  /**
   * Adds the gradients, given that of the output.
   * @param wanted whether an earlier layer learns; without one nobody needs the gradient of the input
   */
  backward(gradient: Output, wanted: boolean): LayerGradients;
}

interface LayerGradients {
  /** Of the input; absent where it was not wanted. */
  readonly input?: Output;
  /** By the weight's name within its layer. */
  readonly weights: Readonly<Record<string, Output>>;
}

type Config = Readonly<Record<string, unknown>>;

interface LayerContext {
  readonly graph: Graph;
  readonly config: Config;
  readonly input: Output;
  /** Sizes behind the batch's. */
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
  readonly weight: ReadWeight;
}

interface Activation {
  readonly op: string;
  /** Gradient of the input from that of the output and the output itself, in the kernel's own order. */
  readonly gradient: (gradient: Output, output: Output) => readonly Output[];
}

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: { op: 'Relu', gradient: (gradient, output) => [gradient, output] },
  relu6: { op: 'Relu6', gradient: (gradient, output) => [gradient, output] },
  elu: { op: 'Elu', gradient: (gradient, output) => [gradient, output] },
  sigmoid: { op: 'Sigmoid', gradient: (gradient, output) => [output, gradient] },
  tanh: { op: 'Tanh', gradient: (gradient, output) => [output, gradient] },
};

/** A member of a layer's configuration that must be empty: its gradient is not written here. */
const EMPTY = /(?:Regularizer|Constraint)$/;

/** Kernels by tfjs's class names. */
const LAYERS: Readonly<Record<string, (context: LayerContext) => LayerPass | string>> = {
  InputLayer: ({ input }) => ({ output: input, backward: (gradient) => ({ input: gradient, weights: {} }) }),
  Dense: dense,
  Conv2D: convolution,
  MaxPooling2D: maxPooling,
  AveragePooling2D: averagePooling,
  GlobalAveragePooling1D: globalAverage,
  GlobalAveragePooling2D: globalAverage,
  Flatten: reshape,
  Reshape: reshape,
  Embedding: embedding,
  Activation: (context) => activated(context, context.input, (gradient) => ({ input: gradient, weights: {} })),
  ReLU: ({ config, ...context }) =>
    config.maxValue === null || config.maxValue === undefined
      ? activated({ ...context, config: { activation: 'relu' } }, context.input, (gradient) => ({
          input: gradient,
          weights: {},
        }))
      : 'has a largest value',
};

/**
 * Adds the forward half of the layer that makes `tensor`.
 * @param input what its one input is called in the graph
 * @param without the layer's activation, where the loss computes that
 * @returns the layer's part of the graph, or why there is none
 */
export function layerPass(
  graph: Graph,
  tensor: tfl.SymbolicTensor,
  input: Output,
  weight: ReadWeight,
  without?: string,
): LayerPass | string {
  const layer = tensor.sourceLayer;
  const build = LAYERS[layer.getClassName()];
  if (build === undefined) return 'is of a kind that has no kernels here';
  const { activation, ...rest } = layer.getConfig() as Config;
  const config = activation === without ? rest : { ...rest, activation };
  const held = Object.keys(config).find((key) => EMPTY.test(key) && config[key] !== null && config[key] !== undefined);
  if (held !== undefined) return `has a ${held}`;
  const format = config.dataFormat;
  if (typeof format === 'string' && format !== 'channelsLast') return `has data format ${format}`;
  const [inputShape, outputShape] = [sizes(tensor.inputs[0]?.shape ?? tensor.shape), sizes(tensor.shape)];
  if (inputShape === undefined || outputShape === undefined) return 'has sizes that change';
  return build({ graph, config, input, inputShape, outputShape, weight });
}

/** Sizes behind the batch's, where all of them are known. */
function sizes(shape: tfl.Shape): number[] | undefined {
  const rest = shape.slice(1).flatMap((size) => size ?? []);
  return rest.length === shape.length - 1 ? rest : undefined;
}

function dense(context: LayerContext): LayerPass | string {
  const { graph, input, inputShape, weight } = context;
  if (inputShape.length !== 1) return `has an input of ${inputShape.length + 1} dimensions, not 2`;
  const kernel = weight('kernel');
  const product = (a: Output, b: Output, transposeA: boolean, transposeB: boolean) =>
    graph.float('MatMul', [a, b], {
      transpose_a: attribute.flag(transposeA),
      transpose_b: attribute.flag(transposeB),
    });
  return biased(context, product(input, kernel, false, false), (gradient, wanted) => ({
    ...(wanted && { input: product(gradient, kernel, false, true) }),
    weights: { kernel: product(input, gradient, true, false) },
  }));
}

/**
 * Whether TensorFlow's oneDNN convolutions can be relied on. Where strides differ they read and write outside their memory and
 * give wrong values, in some shapes only: seen with 2.20 and 2.21 in gradients of one-point filters and in outputs one point wide.
 */
export function isSafeConvolution([down, across]: readonly number[]): boolean {
  return down === across;
}

function convolution(context: LayerContext): LayerPass | string {
  const { graph, config, input, inputShape, weight } = context;
  const attributes: Attributes = {
    strides: attribute.integers([1, ...pair(config.strides), 1]),
    padding: attribute.text(String(config.padding).toUpperCase()),
  };
  // tfjs has no gradient of these to compare with.
  if (pair(config.dilationRate ?? 1).some((rate) => rate !== 1)) return 'has dilated filters';
  const [filters, kernelSize] = [Number(config.filters), pair(config.kernelSize)];
  if (!isSafeConvolution(pair(config.strides))) return 'has strides that differ';
  const kernel = weight('kernel');
  return biased(context, graph.float('Conv2D', [input, kernel], attributes), (gradient, wanted) => ({
    ...(wanted && {
      input: graph.float('Conv2DBackpropInput', [shapeOf(graph, input), kernel, gradient], attributes),
    }),
    weights: {
      kernel: graph.float(
        'Conv2DBackpropFilter',
        [input, graph.integers([...kernelSize, inputShape.at(-1) ?? 0, filters]), gradient],
        attributes,
      ),
    },
  }));
}

/** A bias where there is one, then the activation. */
function biased(context: LayerContext, product: Output, backward: LayerPass['backward']): LayerPass | string {
  const { graph, config, weight } = context;
  if (config.useBias !== true) return activated(context, product, backward);
  return activated(context, graph.float('BiasAdd', [product, weight('bias')]), (gradient, wanted) => {
    const { weights, ...rest } = backward(gradient, wanted);
    return { ...rest, weights: { ...weights, bias: graph.float('BiasAddGrad', [gradient]) } };
  });
}

function activated(
  { graph, config }: LayerContext,
  value: Output,
  backward: LayerPass['backward'],
): LayerPass | string {
  const name = String(config.activation ?? 'linear');
  if (name === 'linear') return { output: value, backward };
  const activation = ACTIVATIONS[name];
  if (activation === undefined) return `has activation ${name}`;
  const output = graph.float(activation.op, [value]);
  return {
    output,
    backward: (gradient, wanted) =>
      backward(graph.float(`${activation.op}Grad`, activation.gradient(gradient, output)), wanted),
  };
}

function poolAttributes({ poolSize, strides, padding }: Config): Attributes {
  return {
    ksize: attribute.integers([1, ...pair(poolSize), 1]),
    strides: attribute.integers([1, ...pair(strides ?? poolSize), 1]),
    padding: attribute.text(String(padding).toUpperCase()),
  };
}

function maxPooling({ graph, config, input }: LayerContext): LayerPass {
  const attributes = poolAttributes(config);
  const output = graph.float('MaxPool', [input], attributes);
  return {
    output,
    backward: (gradient, wanted) => ({
      ...(wanted && { input: graph.float('MaxPoolGrad', [input, output, gradient], attributes) }),
      weights: {},
    }),
  };
}

function averagePooling({ graph, config, input }: LayerContext): LayerPass {
  const attributes = poolAttributes(config);
  return {
    output: graph.float('AvgPool', [input], attributes),
    backward: (gradient, wanted) => ({
      ...(wanted && { input: graph.float('AvgPoolGrad', [shapeOf(graph, input), gradient], attributes) }),
      weights: {},
    }),
  };
}

/** The mean over everything between batch and channels. */
function globalAverage({ graph, input, inputShape }: LayerContext): LayerPass {
  const inner = inputShape.slice(0, -1);
  const axes = graph.integers(inner.map((_, i) => i + 1));
  const count = inner.reduce((product, size) => product * size, 1);
  return {
    output: graph.float('Mean', [input, axes]),
    backward: (gradient, wanted) => {
      if (!wanted) return { weights: {} };
      const share = graph.float('Mul', [gradient, graph.number(1 / count)]);
      const ones = inner.map(() => 1);
      const spread = graph.float('Reshape', [share, graph.integers([-1, ...ones, inputShape.at(-1) ?? 0])]);
      return { input: graph.float('BroadcastTo', [spread, shapeOf(graph, input)]), weights: {} };
    },
  };
}

function reshape({ graph, input, inputShape, outputShape }: LayerContext): LayerPass {
  const to = (value: Output, shape: readonly number[]) =>
    graph.float('Reshape', [value, graph.integers([-1, ...shape])]);
  return {
    output: to(input, outputShape),
    backward: (gradient, wanted) => ({ ...(wanted && { input: to(gradient, inputShape) }), weights: {} }),
  };
}

function embedding({ graph, config, input, weight }: LayerContext): LayerPass | string {
  if (config.maskZero === true) return 'masks zeros';
  const [count, size] = [Number(config.inputDim), Number(config.outputDim)];
  const integers = { Tparams: attribute.type(FLOAT), Tindices: attribute.type(INT32), Taxis: attribute.type(INT32) };
  const indices = graph.add('Cast', [input], { SrcT: attribute.type(FLOAT), DstT: attribute.type(INT32) });
  const axis = graph.constant(Int32Array.of(0));
  return {
    output: graph.add('GatherV2', [weight('embeddings'), indices, axis], integers),
    backward: (gradient) => {
      const rows = graph.float('Reshape', [gradient, graph.integers([-1, size])]);
      const flat = graph.add('Reshape', [indices, graph.integers([-1])], { T: attribute.type(INT32) });
      const total = graph.constant(Int32Array.of(count));
      const types = { Tindices: attribute.type(INT32), Tnumsegments: attribute.type(INT32) };
      // Indices have no gradient: an embedding begins its chain.
      return { weights: { embeddings: graph.float('UnsortedSegmentSum', [rows, flat, total], types) } };
    },
  };
}

function shapeOf(graph: Graph, value: Output): Output {
  return graph.float('Shape', [value]);
}

function pair(value: unknown): [number, number] {
  return Array.isArray(value) ? [Number(value[0]), Number(value[1])] : [Number(value), Number(value)];
}
