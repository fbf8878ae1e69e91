import { SecureTrainingError } from '../../errors.ts';
import { cellNumber } from './cells.ts';

/**
 * What becomes of a missing value: the row is bad, is left out, gets the column's mean over the train split, or a constant.
 * Where a name of a category is missing, mean and constant mean that it is none of those known.
 */
export type Missing =
  | { readonly kind: 'fail' | 'drop-row' | 'mean' }
  | { readonly kind: 'constant'; readonly value: number };

/**
 * Reads `fail`, `drop-row`, `mean` or `constant=0`.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseMissing(text: string): Missing {
  if (text === 'fail' || text === 'drop-row' || text === 'mean') return { kind: text };
  const value = text.startsWith('constant=') ? cellNumber(text.slice('constant='.length)) : Number.NaN;
  if (Number.isFinite(Math.fround(value))) return { kind: 'constant', value };
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `missing values: found '${text}', wanted fail, drop-row, mean or constant=NUMBER`,
  );
}
