import { hash } from 'node:crypto';
import { SecureTrainingError } from '../../errors.ts';
import { SPLITS, type Split } from '../../statements/manifest.ts';

/** Shares of {@link SPLITS}, in that order. */
export type Shares = readonly [train: number, validation: number, test: number];

export const DEFAULT_SHARES: Shares = [0.8, 0.1, 0.1];

/** Bits of the digest that decide; 48 fit a double exactly. */
const DECIDING_BYTES = 6;

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

/**
 * Decides by SHA-256(seed | row) alone, so a row keeps its split whatever stands before it in the file, and a row that
 * appears twice never stands in both train and test.
 */
export function rowSplitter(seed: number, shares: Shares): (row: Uint8Array | string) => Split {
  const prefix = Buffer.from(`${seed}\0`);
  const total = shares.reduce((sum, share) => sum + share, 0);
  const scale = 2 ** (8 * DECIDING_BYTES);
  const trainEnd = (shares[0] / total) * scale;
  const validationEnd = ((shares[0] + shares[1]) / total) * scale;
  let scratch = Buffer.alloc(4096);
  return (row) => {
    const length = prefix.length + (typeof row === 'string' ? Buffer.byteLength(row) : row.length);
    if (length > scratch.length) scratch = Buffer.alloc(2 * length);
    scratch.set(prefix);
    if (typeof row === 'string') scratch.write(row, prefix.length);
    else scratch.set(row, prefix.length);
    const position = hash('sha256', scratch.subarray(0, length), 'buffer').readUIntBE(0, DECIDING_BYTES);
    if (position < trainEnd) return 'train';
    return position < validationEnd ? 'validation' : 'test';
  };
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `split: ${message}`);
}
