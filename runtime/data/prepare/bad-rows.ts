import { SecureTrainingError } from '../../errors.ts';

/** Where bad rows are listed, beside the splits. */
export const REJECTED_FILE = 'rejected.jsonl';

/** Most bad rows that are put aside before all of it is refused: a number, or a share of all rows. */
export type RejectionCeiling = { readonly rows: number } | { readonly share: number };

export const DEFAULT_CEILING: RejectionCeiling = { share: 0.01 };

/** What to do with a row that cannot be used. */
export const BAD_ROW_POLICIES = ['fail', 'reject'] as const;
export type BadRowPolicy = (typeof BAD_ROW_POLICIES)[number];

/** Where a row stands: in which file, where the input is a folder; on which line (from 1) or as which row (from 0); in which column. */
export interface RowPlace {
  readonly file?: string;
  readonly line?: number;
  readonly row?: number;
  readonly column?: string;
}

/**
 * Reads `1%` or `50`.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseCeiling(text: string): RejectionCeiling {
  const [, digits, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim()) ?? [];
  const value = Number(digits);
  if (percent === '%' && value <= 100) return { share: value / 100 };
  if (percent === '' && Number.isSafeInteger(value)) return { rows: value };
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `rejected rows: found '${text}', wanted a whole number or a percentage up to 100%`,
  );
}

/** The end of a pass over the rows, or the first bad one: what is told never holds a value of the row. */
export class BadRows {
  /** Lines of `rejected.jsonl` that were not taken yet. */
  #lines: string[] = [];
  #rejected = 0;
  #first = '';
  readonly #path: string;
  readonly #policy: BadRowPolicy;
  readonly #ceiling: RejectionCeiling;

  constructor(path: string, policy: BadRowPolicy, ceiling: RejectionCeiling) {
    this.#path = path;
    this.#policy = policy;
    this.#ceiling = ceiling;
  }

  get rejected(): number {
    return this.#rejected;
  }

  /** @throws {@link SecureTrainingError} `CONFIG_INVALID` when no row may be bad, or one more than the ceiling is */
  add(place: RowPlace, reason: string): void {
    const where = describePlace(place);
    if (this.#policy === 'fail') {
      const start = place.file ?? this.#path;
      throw invalid(`${where === '' ? start : `${start} ${where}`}: ${reason}`);
    }
    this.#rejected += 1;
    if (this.#rejected === 1) this.#first = `${place.file === undefined ? '' : `${place.file} `}${where}: ${reason}`;
    if ('rows' in this.#ceiling && this.#rejected > this.#ceiling.rows) {
      throw invalid(
        `${this.#path}: found more than ${this.#ceiling.rows} bad rows; the first is ${this.#first}; allow more with --max-rejected`,
      );
    }
    this.#lines.push(JSON.stringify({ ...place, reason }));
  }

  take(): string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  /** @throws {@link SecureTrainingError} `CONFIG_INVALID` when a larger share of all rows was bad than is allowed */
  finish(rows: number): void {
    if (!('share' in this.#ceiling) || this.#rejected <= this.#ceiling.share * rows) return;
    throw invalid(
      `${this.#path}: found ${this.#rejected} bad rows of ${rows}, wanted at most ${this.#ceiling.share * 100} %; the first is ${this.#first}; allow more with --max-rejected`,
    );
  }
}

function describePlace({ line, row, column }: RowPlace): string {
  const at = line !== undefined ? `line ${line}` : row !== undefined ? `row ${row}` : '';
  return column === undefined ? at : `${at}, column ${column}`;
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
