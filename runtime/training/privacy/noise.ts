import { randomFillSync } from 'node:crypto';

/** Numbers drawn from the system's generator at a time, 4 bytes each. */
const BLOCK = 16_384;
/** Samples that one value is the sum of. */
const SUMMANDS = 4;

/**
 * Fills an array with values of a normal distribution of mean 0, drawn from the system's generator: whoever could guess the noise
 * could take it off again. Each is half the sum of four samples, after one that is thrown away, so that the places of a float
 * between which a single sample can fall do not give it away (Holohan and Braghin 2021, arXiv:2107.10138; Opacus, secure mode).
 */
export function fillWithNoise(target: Float32Array, deviation: number): void {
  const normal = normalSource();
  normal();
  for (let i = 0; i < target.length; i++) {
    let sum = 0;
    for (let k = 0; k < SUMMANDS; k++) sum += normal();
    target[i] = (sum / 2) * deviation;
  }
}

/** Rows of one step: each is in with probability `sampleRate`, whatever the others (Poisson sampling, which the accounting relies on). */
export function poissonSample(rows: number, sampleRate: number): Uint32Array {
  const uniform = uniformSource();
  const sample: number[] = [];
  if (sampleRate >= 1) return Uint32Array.from({ length: rows }, (_, i) => i);
  // The gap to the next row that is in has a geometric distribution: as many numbers are drawn as rows are taken, not as there are.
  const scale = Math.log1p(-sampleRate);
  for (let row = -1; ; ) {
    row += 1 + Math.floor(Math.log(uniform()) / scale);
    if (row >= rows) return Uint32Array.from(sample);
    sample.push(row);
  }
}

/** Box and Muller's transform (1958): two normal values of two uniform ones. */
function normalSource(): () => number {
  const uniform = uniformSource();
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** Uniform in (0, 1): never 0, whose logarithm is none. 53 bits, since 32 would cut the tails off at 6.7 deviations. */
function uniformSource(): () => number {
  const block = new Uint32Array(BLOCK);
  let at = BLOCK;
  return () => {
    if (at === BLOCK) {
      randomFillSync(block);
      at = 0;
    }
    const high = (block[at++] as number) >>> 5;
    const low = (block[at++] as number) >>> 6;
    return (high * 67_108_864 + low + 0.5) / 9_007_199_254_740_992;
  };
}
