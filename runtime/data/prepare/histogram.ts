/** Most bars of a histogram. */
const BINS = 32;
const SMALLEST_WIDTH = 2 ** -30;
/** Beyond it a bar's number plus one would be the same number. */
const LARGEST_BAR = 2 ** 40;

export interface HistogramBars {
  /** Left edge of the first bar. */
  readonly from: number;
  readonly width: number;
  readonly counts: readonly number[];
}

/**
 * Counts numbers whose range is not known before, in one pass: bars are a power of two wide and start at a multiple of it, and pairs
 * of them are merged whenever a number falls outside. The result depends on the numbers alone, not on their order.
 */
export class Histogram {
  minimum = Infinity;
  maximum = -Infinity;
  #width = SMALLEST_WIDTH;
  /** Number of the first bar: bar `n` starts at `n * width`. */
  #first = 0;
  #counts: number[] = [];

  add(value: number, count = 1): void {
    if (value < this.minimum) this.minimum = value;
    if (value > this.maximum) this.maximum = value;
    let bar = Math.floor(value / this.#width);
    while (Math.abs(bar) > LARGEST_BAR) {
      this.#merge();
      bar = Math.floor(value / this.#width);
    }
    if (this.#counts.length === 0) this.#first = bar;
    while (Math.max(bar, this.#first + this.#counts.length - 1) - Math.min(bar, this.#first) >= BINS) {
      this.#merge();
      bar = Math.floor(value / this.#width);
    }
    while (bar < this.#first) {
      this.#counts.unshift(0);
      this.#first -= 1;
    }
    while (bar >= this.#first + this.#counts.length) this.#counts.push(0);
    const at = bar - this.#first;
    this.#counts[at] = (this.#counts[at] ?? 0) + count;
  }

  bars(): HistogramBars {
    return { from: this.#first * this.#width, width: this.#width, counts: this.#counts };
  }

  #merge(): void {
    const first = Math.floor(this.#first / 2);
    const merged: number[] = [];
    this.#counts.forEach((count, i) => {
      const at = Math.floor((this.#first + i) / 2) - first;
      merged[at] = (merged[at] ?? 0) + count;
    });
    this.#width *= 2;
    this.#first = first;
    this.#counts = merged;
  }
}
