import { type Attributes, attribute, FLOAT, type Graph, type Output } from './graph.ts';

/** How weights follow their gradients; what is left out is tfjs's own value. */
export type Optimizer =
  | { readonly kind: 'sgd' }
  | { readonly kind: 'momentum'; readonly momentum: number; readonly nesterov?: boolean }
  | { readonly kind: 'adam'; readonly beta1?: number; readonly beta2?: number; readonly epsilon?: number };

/** Suffixes of the names of what an optimizer keeps for each weight, as a snapshot has them. */
const SLOTS = { sgd: [], momentum: ['/momentum'], adam: ['/adam/m', '/adam/v'] } as const;

/** tfjs-core 4.22: `tf.train.adam`, and `backend.epsilon()` for float32. */
const ADAM = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 } as const;

/** Names under which a snapshot has the powers of Adam's betas. */
export const POWERS = ['adam/accBeta1', 'adam/accBeta2'] as const;

export function slotsOf({ kind }: Optimizer): readonly string[] {
  return SLOTS[kind];
}

/** The values that change from step to step. The powers are float32 products, because that is what tfjs holds. */
export class StepNumbers {
  readonly #betas: readonly [number, number];
  readonly #epsilon: number;
  readonly #adam: boolean;
  #powers: readonly [number, number];

  constructor(optimizer: Optimizer) {
    this.#adam = optimizer.kind === 'adam';
    const { beta1, beta2, epsilon } = { ...ADAM, ...(optimizer.kind === 'adam' && optimizer) };
    this.#betas = [Math.fround(beta1), Math.fround(beta2)];
    this.#epsilon = epsilon;
    this.#powers = this.#betas;
  }

  get powers(): readonly [number, number] {
    return this.#powers;
  }

  set powers([beta1, beta2]: readonly [number, number]) {
    this.#powers = [Math.fround(beta1), Math.fround(beta2)];
  }

  /** By the names of {@link numberPlaceholders}. */
  values(learningRate: number): Readonly<Record<string, number>> {
    if (!this.#adam) return { learning_rate: learningRate };
    const [power1, power2] = this.#powers;
    // The kernel adds epsilon before it corrects the bias of v, tfjs after: the same once epsilon is scaled.
    const epsilon = this.#epsilon * Math.sqrt(1 - power2);
    return { learning_rate: learningRate, power1, power2, epsilon };
  }

  /** To be called once a step, after it. */
  advance(): void {
    const [power1, power2] = this.#powers;
    this.#powers = [Math.fround(power1 * this.#betas[0]), Math.fround(power2 * this.#betas[1])];
  }
}

/** Where the values of {@link StepNumbers} come in. */
export function numberPlaceholders(graph: Graph, optimizer: Optimizer): void {
  for (const name of Object.keys(new StepNumbers(optimizer).values(0))) graph.placeholder(name, FLOAT, []);
}

/** A weight as the graph knows it. */
export interface UpdateOptions {
  readonly graph: Graph;
  readonly optimizer: Optimizer;
  /** Handles: of the weight, then of its slots in the order of {@link slotsOf}. */
  readonly handles: readonly Output[];
  readonly gradient: Output;
  /** What still reads the weight as it was: were it changed meanwhile, TensorFlow would copy it first. */
  readonly after: readonly Output[];
}

/** Adds one kernel that changes a weight and its slots in place. */
export function updateWeight({ graph, optimizer, handles, gradient, after }: UpdateOptions): Output {
  const waits = after.map((output) => `^${output}`);
  const apply = (op: string, inputs: readonly Output[], attributes?: Attributes) =>
    graph.float(op, [...handles, ...inputs, ...waits], attributes);
  switch (optimizer.kind) {
    case 'sgd':
      return apply('ResourceApplyGradientDescent', ['learning_rate', gradient]);
    case 'momentum':
      return apply('ResourceApplyMomentum', ['learning_rate', gradient, graph.number(optimizer.momentum)], {
        use_nesterov: attribute.flag(optimizer.nesterov ?? false),
      });
    case 'adam': {
      const { beta1, beta2 } = { ...ADAM, ...optimizer };
      const betas = [graph.number(beta1), graph.number(beta2)];
      return apply('ResourceApplyAdam', ['power1', 'power2', 'learning_rate', ...betas, 'epsilon', gradient]);
    }
  }
}
