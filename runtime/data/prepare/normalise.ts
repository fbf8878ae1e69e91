import type { Normalisation } from '../../statements/manifest.ts';

/** How features are brought to a common size: `auto` scales what looks like pixels and standardises the rest. */
export const NORMALISATIONS = ['auto', 'none', 'scale', 'standard'] as const;
export type NormalisationKind = (typeof NORMALISATIONS)[number];

const BYTE_MAXIMUM = 255;
/** Whole numbers up to 255 that never pass this are counts or grades, not pixels. */
const PIXEL_MINIMUM = 128;

/**
 * What the features are like, gathered row by row. Only rows of the train split count towards mean and deviation:
 * the others would tell the model about rows that it is later tested on.
 */
export class FeatureStatistics {
  readonly #mean: Float64Array;
  readonly #squares: Float64Array;
  #trainRows = 0;
  #maximum = 0;
  #bytesOnly = true;

  constructor(featureCount: number) {
    this.#mean = new Float64Array(featureCount);
    this.#squares = new Float64Array(featureCount);
  }

  /** Welford's update (TAOCP 2, 4.2.2): one pass, no cancellation. */
  add(row: ArrayLike<number>, isTrain: boolean): void {
    if (isTrain) this.#trainRows += 1;
    for (let i = 0; i < this.#mean.length; i++) {
      const value = row[i] ?? 0;
      if (this.#bytesOnly && !(value >= 0 && value <= BYTE_MAXIMUM && value === Math.trunc(value)))
        this.#bytesOnly = false;
      const size = Math.abs(value);
      if (size > this.#maximum) this.#maximum = size;
      if (!isTrain) continue;
      const mean = this.#mean[i] ?? 0;
      const delta = value - mean;
      const next = mean + delta / this.#trainRows;
      this.#mean[i] = next;
      this.#squares[i] = (this.#squares[i] ?? 0) + delta * (value - next);
    }
  }

  /** A quarter of the size wherever every value of every split is a whole number from 0 to 255. */
  get dtype(): 'uint8' | 'float32' {
    return this.#bytesOnly ? 'uint8' : 'float32';
  }

  normalisation(kind: NormalisationKind): Normalisation {
    const isPixels = this.#bytesOnly && this.#maximum >= PIXEL_MINIMUM;
    const chosen = kind === 'auto' ? (isPixels ? 'scale' : 'standard') : kind;
    if (chosen === 'none') return { kind: 'none' };
    if (chosen === 'scale') return { kind: 'scale', divisor: isPixels ? BYTE_MAXIMUM : this.#maximum || 1 };
    // A column that never changes carries nothing: dividing by 1 makes it 0 instead of NaN.
    const deviation = Array.from(this.#squares, (sum) => Math.sqrt(sum / Math.max(1, this.#trainRows)) || 1);
    return { kind: 'standard', mean: [...this.#mean], deviation };
  }
}
