import { SecureTrainingError } from '../../errors.ts';
import { csvCell } from './cells.ts';
import type { ColumnPlan } from './columns.ts';
import type { Missing } from './missing.ts';
import type { Coding } from './options.ts';
import type { CheckedRow } from './row-reader.ts';

/** More is an identifier or free text: most likely the column should be dropped. */
const MAXIMUM_CATEGORIES = 1000;

/** What the train split teaches about how to write a row as numbers. The other splits must not. */
export interface Learned {
  /** By feature: what stands for a missing number; NaN where that was not asked for. */
  readonly fill: Float64Array;
  /** By feature: the names known, sorted; empty where the feature is a number. A name that is not among them is none of them: 0. */
  readonly categories: readonly (readonly string[])[];
}

/** Gathers {@link Learned} from rows of the train split. */
export class Learner {
  readonly #path: string;
  readonly #plan: ColumnPlan;
  readonly #sums: Float64Array;
  readonly #counts: Float64Array;
  readonly #names: readonly Set<string>[];

  constructor(path: string, plan: ColumnPlan) {
    this.#path = path;
    this.#plan = plan;
    this.#sums = new Float64Array(plan.features.length);
    this.#counts = new Float64Array(plan.features.length);
    this.#names = plan.features.map(() => new Set());
  }

  /** @throws {@link SecureTrainingError} `CONFIG_INVALID` for a column of too many different names */
  add({ numbers, names }: CheckedRow): void {
    this.#plan.features.forEach(({ isCategorical, name: column }, i) => {
      const name = names[i] ?? '';
      const known = this.#names[i];
      if (isCategorical && name !== '') known?.add(name);
      if (known !== undefined && known.size > MAXIMUM_CATEGORIES) {
        throw invalid(
          this.#path,
          `column ${column}: found more than ${MAXIMUM_CATEGORIES} categories: is it an identifier? then --drop it`,
        );
      }
      const value = numbers[i] ?? Number.NaN;
      if (isCategorical || Number.isNaN(value)) return;
      this.#counts[i] = (this.#counts[i] ?? 0) + 1;
      // A running mean: a sum of large numbers would lose the small ones.
      this.#sums[i] = (this.#sums[i] ?? 0) + (value - (this.#sums[i] ?? 0)) / (this.#counts[i] ?? 1);
    });
  }

  /** @throws {@link SecureTrainingError} `CONFIG_INVALID` for a column with no value in the train split */
  learned(missing: Missing): Learned {
    this.#plan.features.forEach(({ name, isCategorical }, i) => {
      const seen = isCategorical ? this.#names[i]?.size : this.#counts[i];
      if (seen === 0 && (isCategorical || missing.kind === 'mean'))
        throw invalid(this.#path, `column ${name}: found no value in the train split`);
    });
    return {
      fill: missing.kind === 'mean' ? this.#sums : nothingLearned(this.#plan, missing).fill,
      categories: this.#names.map((names) => [...names].sort()),
    };
  }
}

/** Enough where there are only numbers and nothing depends on their mean. */
export function nothingLearned(plan: ColumnPlan, missing: Missing): Learned {
  const fill = missing.kind === 'constant' ? missing.value : Number.NaN;
  return { fill: new Float64Array(plan.features.length).fill(fill), categories: plan.features.map(() => []) };
}

/** Writes checked rows as numbers. */
export interface RowCoder {
  /** Names of the features as the model sees them. */
  readonly columns: readonly string[];
  /** By column: the feature of the plan that it comes from. */
  readonly sources: readonly number[];
  /** Header of a csv file. */
  readonly header: readonly string[];
  /** The features, to be read before the next row is. */
  features(row: CheckedRow): Float64Array;
  /** The row for a csv file, from what {@link features} returned. */
  line(row: CheckedRow, features: Float64Array): string;
}

export function rowCoder(plan: ColumnPlan, labelName: string, coding: Coding, learned: Learned): RowCoder {
  const blocks = plan.features.map(({ name, isCategorical }, i) => {
    const categories = learned.categories[i] ?? [];
    const isOneHot = isCategorical && coding === 'one-hot';
    return {
      isCategorical,
      isOneHot,
      codes: new Map(categories.map((category, code) => [category, code + 1])),
      columns: isOneHot ? categories.map((category) => `${name}=${category}`) : [name],
    };
  });
  const columns = blocks.flatMap((block) => block.columns);
  const labelAt = blocks
    .slice(0, plan.features.filter(({ index }) => index < plan.label).length)
    .reduce((width, block) => width + block.columns.length, 0);
  const isPlain = blocks.every(({ isCategorical }) => !isCategorical);
  const features = new Float64Array(columns.length);
  return {
    columns,
    sources: blocks.flatMap((block, i) => block.columns.map(() => i)),
    header: columns.toSpliced(labelAt, 0, labelName),
    features({ numbers, names, isIncomplete }) {
      // By far the most frequent, and wide.
      if (isPlain && !isIncomplete) return numbers;
      let at = 0;
      blocks.forEach(({ isCategorical, isOneHot, codes, columns: own }, i) => {
        const code = codes.get(names[i] ?? '') ?? 0;
        const value = numbers[i] ?? 0;
        if (!isCategorical) features[at] = Number.isNaN(value) ? (learned.fill[i] ?? 0) : value;
        else if (isOneHot) for (let k = 0; k < own.length; k++) features[at + k] = Number(k + 1 === code);
        else features[at] = code;
        at += own.length;
      });
      return features;
    },
    line(row, values) {
      // As it stands in the file where that is what is meant: no number is written another way than it was.
      if (isPlain && !row.isIncomplete) return row.text;
      return Array.from(values, String).toSpliced(labelAt, 0, csvCell(row.label)).join(',');
    },
  };
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
