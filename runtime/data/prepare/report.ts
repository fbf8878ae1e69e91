import { hash } from 'node:crypto';
import { SPLITS, type Split } from '../../statements/manifest.ts';
import type { DatasetDescription } from '../dataset-file.ts';
import { DuplicateFinder, type Duplicates } from './duplicates.ts';
import { Histogram, type HistogramBars } from './histogram.ts';

/** Names of the report's two forms, beside `dataset.json`. */
export const REPORT_FILE = 'report.json';
export const REPORT_PAGE = 'report.html';

/** Features that get a histogram: counting all of a wide table would cost more than reading it. */
const HISTOGRAMS = 24;
const DIGEST_BYTES = 6;
const BYTE_VALUES = 256;
/** Of a column's rows, when it is worth a warning that they lack a value. */
const MUCH = 0.5;

interface ClassReport extends Readonly<Record<Split, number>> {
  readonly name: string;
}

export interface FeatureReport {
  readonly name: string;
  readonly minimum: number;
  readonly maximum: number;
  /** Rows in which it was missing, before anything was put in its place. */
  readonly missing: number;
  readonly histogram?: HistogramBars;
}

/** What an owner should look at before sealing. It holds counts and ranges of plaintext: it is as confidential as the rows. */
export interface DataReport {
  readonly version: 1;
  readonly name: string;
  readonly rows: Readonly<Record<Split, number>>;
  readonly classes: readonly ClassReport[];
  /** One for each column of a table; one for all values together where rows are images or arrays. */
  readonly features: readonly FeatureReport[];
  readonly duplicates: Duplicates;
  /** Rows put into `rejected.jsonl`. */
  readonly rejected: number;
  /** Rows left out because a value was missing. */
  readonly incomplete: number;
  readonly warnings: readonly string[];
}

/** Looks at rows as they are written. */
export class ReportCollector {
  readonly #columns: readonly string[] | undefined;
  readonly #histograms: readonly Histogram[];
  readonly #minimum: Float64Array;
  readonly #maximum: Float64Array;
  readonly #bytes = new Float64Array(BYTE_VALUES);
  readonly #classes = new Map<string, Record<Split, number>>();
  readonly #duplicates = new DuplicateFinder();

  /** @param columns names of the features, or `undefined` where single ones mean nothing, as in images */
  constructor(columns: readonly string[] | undefined) {
    this.#columns = columns;
    const width = columns?.length ?? 0;
    this.#histograms = Array.from(
      { length: columns === undefined ? 1 : Math.min(width, HISTOGRAMS) },
      () => new Histogram(),
    );
    this.#minimum = new Float64Array(width).fill(Infinity);
    this.#maximum = new Float64Array(width).fill(-Infinity);
  }

  add(split: Split, label: string, features: Float64Array | Float32Array | Uint8Array): void {
    const counts = this.#classes.get(label) ?? { train: 0, validation: 0, test: 0 };
    if (counts.train + counts.validation + counts.test === 0) this.#classes.set(label, counts);
    counts[split] += 1;
    const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength);
    this.#duplicates.add(hash('sha256', bytes, 'buffer').readUIntBE(0, DIGEST_BYTES), split);
    if (this.#columns === undefined) this.#addValues(features);
    else this.#addColumns(features);
  }

  finish(
    { name, schema, splits }: Omit<DatasetDescription, 'version' | 'preparation'>,
    counts: { readonly rejected: number; readonly incomplete: number; readonly missing: readonly number[] },
  ): DataReport {
    const rows = { train: splits.train.rows, validation: splits.validation.rows, test: splits.test.rows };
    const none = { train: 0, validation: 0, test: 0 };
    const report = {
      version: 1 as const,
      name,
      rows,
      classes: schema.classes.map((label) => ({ name: label, ...(this.#classes.get(label) ?? none) })),
      features: this.#features(counts.missing),
      duplicates: this.#duplicates.result(),
      rejected: counts.rejected,
      incomplete: counts.incomplete,
    };
    return { ...report, warnings: warningsOf(report) };
  }

  #addValues(features: ArrayLike<number>): void {
    if (features instanceof Uint8Array) {
      for (let i = 0; i < features.length; i++) {
        const value = features[i] ?? 0;
        this.#bytes[value] = (this.#bytes[value] ?? 0) + 1;
      }
    } else for (let i = 0; i < features.length; i++) this.#histograms[0]?.add(features[i] ?? 0);
  }

  #addColumns(features: ArrayLike<number>): void {
    for (let i = 0; i < features.length; i++) {
      const value = features[i] ?? 0;
      if (value < (this.#minimum[i] ?? 0)) this.#minimum[i] = value;
      if (value > (this.#maximum[i] ?? 0)) this.#maximum[i] = value;
    }
    this.#histograms.forEach((histogram, i) => {
      histogram.add(features[i] ?? 0);
    });
  }

  #features(missing: readonly number[]): FeatureReport[] {
    if (this.#columns === undefined) {
      const [all = new Histogram()] = this.#histograms;
      this.#bytes.forEach((count, value) => {
        if (count > 0) all.add(value, count);
      });
      const { minimum, maximum } = all;
      return [{ name: 'all values', minimum, maximum, missing: 0, histogram: all.bars() }];
    }
    return this.#columns.map((name, i) => {
      const histogram = this.#histograms[i]?.bars();
      return {
        name,
        minimum: this.#minimum[i] ?? 0,
        maximum: this.#maximum[i] ?? 0,
        missing: missing[i] ?? 0,
        ...(histogram === undefined ? {} : { histogram }),
      };
    });
  }
}

function warningsOf({ rows, classes, features, duplicates }: Omit<DataReport, 'warnings'>): string[] {
  const warnings: string[] = [];
  const total = SPLITS.reduce((sum, split) => sum + rows[split], 0);
  const about = duplicates.oneIn === 1 ? '' : 'about ';
  if (duplicates.leaked > 0) {
    warnings.push(
      `leakage: ${about}${duplicates.leaked} rows of validation and test have the features of a row of train; what is measured on them flatters the model`,
    );
  }
  for (const split of SPLITS) {
    const lacking = classes.filter((each) => each[split] === 0).length;
    if (lacking > 0) warnings.push(`${lacking} of ${classes.length} classes have no row in ${split}`);
  }
  const constant = features.filter(({ minimum, maximum }) => minimum === maximum).length;
  if (constant > 0) warnings.push(`${constant} of ${features.length} features never change`);
  const sparse = features.filter(({ missing }) => missing > MUCH * total).length;
  if (sparse > 0) warnings.push(`${sparse} of ${features.length} features are missing in more than half of the rows`);
  return warnings;
}
