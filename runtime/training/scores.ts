/**
 * Rows of a split by true class (first index) and predicted class (second): square, one row and column an output of the model. An
 * output that no class of the data stands for has a column, and a row of noughts.
 */
export type Confusion = readonly (readonly number[])[];

/** The splits that leave a matrix. */
export const SCORED_SPLITS = ['validation', 'test'] as const;
export type ScoredSplit = (typeof SCORED_SPLITS)[number];
export type Confusions = Readonly<Partial<Record<ScoredSplit, Confusion>>>;

/** More outputs leave no matrix, and no score made of one: it would have more than a million counts. */
export const MOST_SCORED_CLASSES = 1000;

export interface ClassScores {
  /** Of the rows that were given this class, the share that belongs to it; 0 where none was. */
  readonly precision: number;
  /** Of the rows that belong to it, the share that was given it; 0 where none does. */
  readonly recall: number;
  /** Harmonic mean of the two; 0 where both are. */
  readonly f1: number;
  /** Rows that belong to it. */
  readonly support: number;
}

/** Takes counts, batch after batch. */
export interface ConfusionCounter {
  /** Of the first `rows` of both. */
  add(truth: ArrayLike<number>, predicted: ArrayLike<number>, rows: number): void;
  matrix(): Confusion;
}

export function confusionCounter(outputs: number): ConfusionCounter {
  const counts = new Float64Array(outputs * outputs);
  return {
    add(truth, predicted, rows) {
      for (let i = 0; i < rows; i++) {
        const at = (truth[i] as number) * outputs + (predicted[i] as number);
        counts[at] = (counts[at] as number) + 1;
      }
    },
    matrix: () => Array.from({ length: outputs }, (_, row) => [...counts.subarray(row * outputs, (row + 1) * outputs)]),
  };
}

/** Of each class, in the order of the matrix. Where a share is of nothing it is 0, as in scikit-learn. */
export function classScores(confusion: Confusion): ClassScores[] {
  const given = columnSums(confusion);
  return confusion.map((row, i) => {
    const support = sum(row);
    const right = row[i] ?? 0;
    return {
      precision: share(right, given[i] ?? 0),
      recall: share(right, support),
      f1: share(2 * right, support + (given[i] ?? 0)),
      support,
    };
  });
}

/** Scores of a whole split. */
export interface Averages {
  readonly accuracy: number;
  readonly macro_precision: number;
  readonly macro_recall: number;
  readonly macro_f1: number;
}

/** Means over the classes that occur, as truth or as prediction (scikit-learn's `macro`): each counts as much as the next. */
export function averages(confusion: Confusion): Averages {
  const given = columnSums(confusion);
  const scores = classScores(confusion).filter(({ support }, i) => support > 0 || (given[i] ?? 0) > 0);
  const mean = (of: (each: ClassScores) => number) => share(sum(scores.map(of)), scores.length);
  return {
    accuracy: share(sum(confusion.map((row, i) => row[i] ?? 0)), rowsOf(confusion)),
    macro_precision: mean(({ precision }) => precision),
    macro_recall: mean(({ recall }) => recall),
    macro_f1: mean(({ f1 }) => f1),
  };
}

/** One kind of mistake: rows of one class that were given another. */
export interface Mistake {
  readonly truth: number;
  readonly predicted: number;
  readonly rows: number;
}

/** The most frequent mistakes first; as often, in the order of the classes. */
export function worstMistakes(confusion: Confusion, most: number): Mistake[] {
  return confusion
    .flatMap((row, truth) => row.map((rows, predicted) => ({ truth, predicted, rows })))
    .filter(({ truth, predicted, rows }) => truth !== predicted && rows > 0)
    .sort((a, b) => b.rows - a.rows)
    .slice(0, most);
}

/** Rows that a matrix counts. */
export function rowsOf(confusion: Confusion): number {
  return sum(confusion.map(sum));
}

/** Whether a value is a matrix of counts as {@link Confusion} says: what the worker sends is believed in nothing. */
export function isConfusion(value: unknown): value is Confusion {
  const isCount = (each: unknown) => Number.isSafeInteger(each) && (each as number) >= 0;
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= MOST_SCORED_CLASSES &&
    value.every((row) => Array.isArray(row) && row.length === value.length && row.every(isCount))
  );
}

function columnSums(confusion: Confusion): number[] {
  return confusion.map((_, column) => sum(confusion.map((row) => row[column] ?? 0)));
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function sum(values: readonly number[]): number {
  return values.reduce((all, each) => all + each, 0);
}
