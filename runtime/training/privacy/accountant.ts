import { logErfc, logGamma } from './special-functions.ts';

/** Steps of DP-SGD that were taken alike. */
export interface PrivacyPhase {
  /** Standard deviation of the noise, in multiples of the clipping norm. */
  readonly noiseMultiplier: number;
  /** Probability with which each row is in a batch, in (0, 1]. */
  readonly sampleRate: number;
  readonly steps: number;
}

/** The privacy that was spent: (ε, δ) differential privacy for one row added or left out. */
export interface SpentPrivacy {
  readonly epsilon: number;
  readonly delta: number;
  /** Rényi order at which epsilon is least. */
  readonly order: number;
}

/** The orders that Opacus and TensorFlow Privacy look at: 1.1 to 10.9 by 0.1, then 12 to 63. */
const ORDERS: readonly number[] = [
  ...Array.from({ length: 99 }, (_, i) => 1 + (i + 1) / 10),
  ...Array.from({ length: 52 }, (_, i) => 12 + i),
];

/** A term below e^-30 of a sum near one no longer changes a float64 that is rounded to 12 digits. */
const NEGLIGIBLE = -30;

/**
 * Rényi differential privacy of order `order` of one step of the sampled Gaussian mechanism (Mironov, Talwar, Zhang 2019,
 * arXiv:1908.10530, section 3.3).
 * @throws RangeError where an argument is outside its domain
 */
export function stepPrivacy(sampleRate: number, noiseMultiplier: number, order: number): number {
  if (!(sampleRate > 0 && sampleRate <= 1))
    throw new RangeError(`sample rate ${sampleRate}, wanted above 0, at most 1`);
  if (!(noiseMultiplier > 0)) throw new RangeError(`noise multiplier ${noiseMultiplier}, wanted above 0`);
  if (!(order > 1)) throw new RangeError(`order ${order}, wanted above 1`);
  if (sampleRate === 1) return order / (2 * noiseMultiplier ** 2);
  const logA = Number.isInteger(order)
    ? logMomentInteger(sampleRate, noiseMultiplier, order)
    : logMomentFractional(sampleRate, noiseMultiplier, order);
  return logA / (order - 1);
}

/** Section 3.3, equation for integer α: a binomial sum. */
function logMomentInteger(q: number, sigma: number, alpha: number): number {
  const terms = Array.from(
    { length: alpha + 1 },
    (_, i) =>
      logGamma(alpha + 1) -
      logGamma(i + 1) -
      logGamma(alpha - i + 1) +
      i * Math.log(q) +
      (alpha - i) * Math.log1p(-q) +
      (i * i - i) / (2 * sigma * sigma),
  );
  const top = Math.max(...terms);
  return top + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - top), 0));
}

/** Section 3.3, equation for fractional α: two series with binomial coefficients that change sign beyond α. */
function logMomentFractional(q: number, sigma: number, alpha: number): number {
  const z0 = sigma * sigma * Math.log(1 / q - 1) + 0.5;
  const terms: { log: number; sign: number }[] = [];
  // C(α, i), kept as logarithm and sign: it becomes as small as the terms that it multiplies become large.
  let log = 0;
  let sign = 1;
  for (let i = 0; ; i++) {
    const j = alpha - i;
    const low = log + i * Math.log(q) + j * Math.log1p(-q);
    const high = log + j * Math.log(q) + i * Math.log1p(-q);
    const a = low + (i * i - i) / (2 * sigma * sigma) + logErfc((i - z0) / (Math.SQRT2 * sigma)) - Math.LN2;
    const b = high + (j * j - j) / (2 * sigma * sigma) + logErfc((z0 - j) / (Math.SQRT2 * sigma)) - Math.LN2;
    terms.push({ log: a, sign }, { log: b, sign });
    if (i > alpha && Math.max(a, b) < NEGLIGIBLE) break;
    log += Math.log(Math.abs(j) / (i + 1));
    sign *= Math.sign(j);
  }
  const top = terms.reduce((most, term) => Math.max(most, term.log), Number.NEGATIVE_INFINITY);
  return top + Math.log(terms.reduce((sum, term) => sum + term.sign * Math.exp(term.log - top), 0));
}

/**
 * The best (ε, δ) statement that follows from Rényi privacy at several orders (Balle et al. 2020, arXiv:1905.09982, theorem 21).
 * @param privacy Rényi privacy at each of `orders`
 */
export function bestEpsilon(privacy: readonly number[], orders: readonly number[], delta: number): SpentPrivacy {
  if (!(delta > 0 && delta < 1)) throw new RangeError(`delta ${delta}, wanted between 0 and 1`);
  let best: SpentPrivacy = { epsilon: Number.POSITIVE_INFINITY, delta, order: Number.NaN };
  orders.forEach((order, i) => {
    const spent = privacy[i] ?? Number.POSITIVE_INFINITY;
    const epsilon = spent - (Math.log(delta) + Math.log(order)) / (order - 1) + Math.log((order - 1) / order);
    if (epsilon < best.epsilon) best = { epsilon: Math.max(0, epsilon), delta, order };
  });
  return best;
}

/** What a history of phases has spent: Rényi privacy adds up over steps. */
export function spentPrivacy(
  history: readonly PrivacyPhase[],
  delta: number,
  orders: readonly number[] = ORDERS,
): SpentPrivacy {
  const done = history.filter(({ steps }) => steps > 0);
  if (done.length === 0) return { epsilon: 0, delta, order: orders[0] ?? Number.NaN };
  const privacy = orders.map((order) =>
    done.reduce(
      (sum, { noiseMultiplier, sampleRate, steps }) => sum + steps * stepPrivacy(sampleRate, noiseMultiplier, order),
      0,
    ),
  );
  return bestEpsilon(privacy, orders, delta);
}

/** Joins phases that were taken alike, so that a history grows with changes and not with steps. */
export function withSteps(history: readonly PrivacyPhase[], next: PrivacyPhase): PrivacyPhase[] {
  const last = history.at(-1);
  if (last?.noiseMultiplier !== next.noiseMultiplier || last.sampleRate !== next.sampleRate) return [...history, next];
  return [...history.slice(0, -1), { ...last, steps: last.steps + next.steps }];
}

export interface PrivacyTarget {
  readonly epsilon: number;
  readonly delta: number;
  readonly sampleRate: number;
  readonly steps: number;
}

/** Epsilon of the noise found lies at most this far below the target. */
const EPSILON_TOLERANCE = 0.01;
/** Beyond it a model learns nothing, and the series above grow long. */
const MOST_NOISE = 1000;

/**
 * The least noise multiplier that keeps a run within its target, by bisection as Opacus does it.
 * @throws RangeError where no noise is enough
 */
export function noiseFor({ epsilon, delta, sampleRate, steps }: PrivacyTarget): number {
  const spent = (noiseMultiplier: number) => spentPrivacy([{ noiseMultiplier, sampleRate, steps }], delta).epsilon;
  let low = 0;
  let high = 10;
  while (spent(high) > epsilon) {
    if (high === MOST_NOISE) {
      throw new RangeError(`no noise multiplier up to ${MOST_NOISE} keeps ${steps} steps within epsilon ${epsilon}`);
    }
    high = Math.min(2 * high, MOST_NOISE);
  }
  while (epsilon - spent(high) > EPSILON_TOLERANCE) {
    const middle = (low + high) / 2;
    if (spent(middle) > epsilon) low = middle;
    else high = middle;
    // Epsilon no longer answers to a finer noise: what was found is as good as float64 gets.
    if (high - low < 1e-12 * high) break;
  }
  return high;
}

/** Steps that may still be taken alike before `epsilon` would be exceeded; found by bisection, since epsilon only grows. */
export function stepsWithin(
  history: readonly PrivacyPhase[],
  phase: Omit<PrivacyPhase, 'steps'>,
  { epsilon, delta }: { readonly epsilon: number; readonly delta: number },
  most: number,
): number {
  const fits = (steps: number) => spentPrivacy([...history, { ...phase, steps }], delta).epsilon <= epsilon;
  if (fits(most)) return most;
  let low = 0;
  let high = most;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
