import {
  averages,
  type ClassScores,
  type Confusion,
  type Confusions,
  classScores,
  worstMistakes,
} from '../../runtime/training/scores.ts';

/** Scores of one split by name of the class; the counts themselves stand in `model/scores.json`. */
export interface SplitScores {
  readonly accuracy: number;
  readonly macro: { readonly precision: number; readonly recall: number; readonly f1: number };
  readonly classes: readonly (ClassScores & { readonly name: string })[];
  /** The most frequent ones first. */
  readonly mistakes: readonly { readonly truth: string; readonly predicted: string; readonly rows: number }[];
}

/** So many classes and mistakes are told. */
const CLASSES_SHOWN = 20;
const MISTAKES_KEPT = 10;
const MISTAKES_SHOWN = 3;
const DIGITS = 4;

/** @param classes names of the first outputs; one that no class stands for is called by its number */
export function splitScores(confusion: Confusion, classes: readonly string[]): SplitScores {
  const nameOf = (i: number) => classes[i] ?? `output ${i}`;
  const { accuracy, macro_precision, macro_recall, macro_f1 } = averages(confusion);
  return {
    accuracy: rounded(accuracy),
    macro: { precision: rounded(macro_precision), recall: rounded(macro_recall), f1: rounded(macro_f1) },
    classes: classScores(confusion).map(({ precision, recall, f1, support }, i) => ({
      name: nameOf(i),
      precision: rounded(precision),
      recall: rounded(recall),
      f1: rounded(f1),
      support,
    })),
    mistakes: worstMistakes(confusion, MISTAKES_KEPT).map(({ truth, predicted, rows }) => ({
      truth: nameOf(truth),
      predicted: nameOf(predicted),
      rows,
    })),
  };
}

/** Those of every split that left its counts. */
export function scoresOf(confusions: Confusions, classes: readonly string[]): Record<string, SplitScores> {
  return Object.fromEntries(Object.entries(confusions).map(([split, each]) => [split, splitScores(each, classes)]));
}

/** A table of classes (of many, the worst) and the mistakes that were made most often. */
export function scoreLines({ classes, macro, mistakes }: SplitScores): string[] {
  const isLong = classes.length > CLASSES_SHOWN;
  const shown = isLong ? classes.toSorted((a, b) => a.f1 - b.f1).slice(0, CLASSES_SHOWN) : classes;
  const support = classes.reduce((sum, each) => sum + each.support, 0);
  const rows = [
    ['class', 'precision', 'recall', 'f1', 'rows'],
    ...[...shown, { name: 'mean of classes', ...macro, support }].map((each) => [
      each.name,
      ...[each.precision, each.recall, each.f1].map((value) => value.toFixed(DIGITS)),
      String(each.support),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
  );
  const worst = mistakes
    .slice(0, MISTAKES_SHOWN)
    .map(({ truth, predicted, rows }) => `${truth} as ${predicted} ${rows}`);
  return [
    ...lines,
    ...(isLong ? [`the ${CLASSES_SHOWN} of ${classes.length} classes with the lowest f1`] : []),
    ...(worst.length === 0 ? [] : [`taken for another: ${worst.join(', ')}`]),
  ];
}

function rounded(value: number): number {
  return Number(value.toFixed(DIGITS));
}
