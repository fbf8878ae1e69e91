import { generator } from './order.ts';

/**
 * Does a step's work with `Math.random` a function of seed and step. tfjs-core 4.22 (ops/rand_util.ts) seeds every generator that is
 * given no seed from `Math.random`: so masks of dropout and noise differ from step to step, yet are the same after a resume.
 */
export function withStepRandom(seed: number, step: number, work: () => void): void {
  const { random } = Math;
  let next: (() => number) | undefined;
  Math.random = () => {
    next ??= generator(`random|${seed}|${step}`);
    return next() / 2 ** 32;
  };
  try {
    work();
  } finally {
    Math.random = random;
  }
}
