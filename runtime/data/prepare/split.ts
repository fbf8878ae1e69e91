import { hash } from 'node:crypto';
import { SecureTrainingError } from '../../errors.ts';
import { SPLITS, type Split } from '../../statements/manifest.ts';

/** Shares of {@link SPLITS}, in that order. */
export type Shares = readonly [train: number, validation: number, test: number];

export const DEFAULT_SHARES: Shares = [0.8, 0.1, 0.1];

/** Bits of the digest that decide; 48 fit a double exactly. */
const DECIDING_BYTES = 6;
const POSITIONS = 2 ** (8 * DECIDING_BYTES);
const BINS = 4096;
const BIN_WIDTH = POSITIONS / BINS;

/**
 * Reads `0.8,0.1,0.1`, or the same as `80,10,10`: only the proportion counts.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` unless there are three numbers above zero
 */
export function parseShares(text: string): Shares {
  const parts = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  const [train, validation, test] = parts;
  if (parts.length !== 3 || train === undefined || validation === undefined || test === undefined) {
    throw invalid(`found ${parts.length} parts, wanted 3: train, validation, test`);
  }
  return checkShares([train, validation, test]);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for a part that is not a number above zero */
export function checkShares(shares: Shares): Shares {
  shares.forEach((share, i) => {
    if (!Number.isFinite(share) || share <= 0) throw invalid(`${SPLITS[i]} is not a number above 0`);
  });
  return shares;
}

/** Where a row stands between 0 and 2^48: SHA-256(seed | row) decides, nothing else. */
export type RowPosition = (row: Uint8Array | string) => number;

export function rowPosition(seed: number): RowPosition {
  const prefix = Buffer.from(`${seed}\0`);
  let scratch = Buffer.alloc(4096);
  return (row) => {
    const length = prefix.length + (typeof row === 'string' ? Buffer.byteLength(row) : row.length);
    if (length > scratch.length) scratch = Buffer.alloc(2 * length);
    scratch.set(prefix);
    if (typeof row === 'string') scratch.write(row, prefix.length);
    else scratch.set(row, prefix.length);
    return hash('sha256', scratch.subarray(0, length), 'buffer').readUIntBE(0, DECIDING_BYTES);
  };
}

/** Puts a row of this position and label into a split. */
export type Splitter = (position: number, label: string) => Split;

/**
 * By position alone, so a row keeps its split whatever stands before it in the file, and a row that appears twice never stands
 * in both train and test.
 */
export function shareSplitter(shares: Shares): Splitter {
  const total = shares.reduce((sum, share) => sum + share, 0);
  const trainEnd = (shares[0] / total) * POSITIONS;
  const validationEnd = ((shares[0] + shares[1]) / total) * POSITIONS;
  return (position) => {
    if (position < trainEnd) return 'train';
    return position < validationEnd ? 'validation' : 'test';
  };
}

/**
 * Gives every class the same shares. Counts positions, not rows, so memory does not grow; borders are as fine as the counting, a
 * 4096th of a class. Still the same whatever the order of the file, but a row may move when others come or go.
 */
export class ClassShares {
  readonly #counts = new Map<string, Uint32Array>();

  add(position: number, label: string): void {
    const counts = this.#counts.get(label) ?? new Uint32Array(BINS);
    if (!this.#counts.has(label)) this.#counts.set(label, counts);
    const bin = Math.floor(position / BIN_WIDTH);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }

  splitter(shares: Shares): Splitter {
    const total = shares.reduce((sum, share) => sum + share, 0);
    const borders = new Map(
      [...this.#counts].map(([label, counts]) => {
        const rows = counts.reduce((sum, count) => sum + count, 0);
        const trainEnd = binAfter(counts, Math.round((shares[0] / total) * rows));
        return [label, [trainEnd, binAfter(counts, Math.round(((shares[0] + shares[1]) / total) * rows))] as const];
      }),
    );
    return (position, label) => {
      const [trainEnd, validationEnd] = borders.get(label) ?? [0, 0];
      const bin = Math.floor(position / BIN_WIDTH);
      if (bin < trainEnd) return 'train';
      return bin < validationEnd ? 'validation' : 'test';
    };
  }
}

/** The first bin that is not needed to hold so many rows. */
function binAfter(counts: Uint32Array, rows: number): number {
  let held = 0;
  let bin = 0;
  for (; bin < counts.length && held < rows; bin++) held += counts[bin] ?? 0;
  return bin;
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `split: ${message}`);
}
