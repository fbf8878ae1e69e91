import type { LossName } from '../model-definition.ts';
import { attribute, FLOAT, type Graph, INT32, type Output } from './graph.ts';

/** What a row's label is: a class from 0, or a value. */
export type Labels = 'classes' | 'values';

export interface LossOptions {
  readonly loss: LossName;
  readonly labels: Labels;
  /** Before the activation that {@link activationBefore} names. */
  readonly outputs: Output;
  /** How many there are. */
  readonly width: number;
  /** One a row, int32 for classes. */
  readonly label: Output;
  /** One a row. */
  readonly rowWeights: Output;
}

/** The activation that a loss of probabilities computes together with itself, where it cannot overflow. */
export function activationBefore(loss: LossName): string | undefined {
  return { categoricalCrossentropy: 'softmax', binaryCrossentropy: 'sigmoid' }[loss as string];
}

/**
 * Adds the weighted sum of the rows' losses, and its gradient by the outputs.
 * @returns them, or why there are none
 */
export function addLoss(graph: Graph, options: LossOptions): { loss: Output; gradient: Output } | string {
  const { loss, labels, outputs, width, rowWeights } = options;
  const column = graph.float('Reshape', [rowWeights, graph.integers([-1, 1])]);
  if (labels === 'values' && width !== 1) return `the labels are one value a row, the model has ${width} outputs`;
  if (loss === 'softmaxCrossEntropy' || loss === 'categoricalCrossentropy') {
    if (labels === 'values') return `the loss is ${loss}, the labels are values`;
    const types = { Tlabels: attribute.type(INT32) };
    const entropy = graph.float('SparseSoftmaxCrossEntropyWithLogits', [outputs, options.label], types);
    // The kernel's second output is the gradient.
    return { loss: total(graph, entropy, rowWeights), gradient: graph.float('Mul', [`${entropy}:1`, column]) };
  }
  const target = targetOf(graph, options);
  // The mean over a row's outputs, as tfjs takes it over all of them.
  const share = graph.float('Mul', [column, graph.number(1 / width)]);
  const mean = (each: Output) => graph.float('Mean', [each, graph.integers([1])]);
  if (loss === 'meanSquaredError') {
    const difference = graph.float('Sub', [outputs, target]);
    const twice = graph.float('Mul', [difference, graph.number(2)]);
    return {
      loss: total(graph, mean(graph.float('Square', [difference])), rowWeights),
      gradient: graph.float('Mul', [twice, share]),
    };
  }
  // softplus(x) - x y is the entropy of sigmoid(x).
  const entropy = graph.float('Sub', [graph.float('Softplus', [outputs]), graph.float('Mul', [outputs, target])]);
  const difference = graph.float('Sub', [graph.float('Sigmoid', [outputs]), target]);
  return { loss: total(graph, mean(entropy), rowWeights), gradient: graph.float('Mul', [difference, share]) };
}

function total(graph: Graph, perRow: Output, rowWeights: Output): Output {
  return graph.float('Sum', [graph.float('Mul', [perRow, rowWeights]), graph.integers([0])]);
}

/** Labels in the shape of the outputs. */
function targetOf(graph: Graph, { labels, width, label }: LossOptions): Output {
  const column = (value: Output) => graph.float('Reshape', [value, graph.integers([-1, 1])]);
  if (labels === 'values') return column(label);
  if (width === 1) {
    return column(graph.add('Cast', [label], { SrcT: attribute.type(INT32), DstT: attribute.type(FLOAT) }));
  }
  const depth = graph.constant(Int32Array.of(width));
  return graph.float('OneHot', [label, depth, graph.number(1), graph.number(0)], { TI: attribute.type(INT32) });
}
