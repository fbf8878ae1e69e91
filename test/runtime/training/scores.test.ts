import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  averages,
  classScores,
  confusionCounter,
  isConfusion,
  MOST_SCORED_CLASSES,
  rowsOf,
  worstMistakes,
} from '../../../runtime/training/scores.ts';

/** As scikit-learn 1.7 scores y_true = [0,0,0,1,1,2], y_pred = [0,0,1,1,2,2] with zero_division=0. */
const KNOWN = [
  [2, 1, 0],
  [0, 1, 1],
  [0, 0, 1],
];

test('scores of a known matrix', () => {
  expect(classScores(KNOWN)).toEqual([
    { precision: 1, recall: 2 / 3, f1: 0.8, support: 3 },
    { precision: 0.5, recall: 0.5, f1: 0.5, support: 2 },
    { precision: 0.5, recall: 1, f1: 2 / 3, support: 1 },
  ]);
  const { macro_precision, macro_recall, macro_f1, accuracy } = averages(KNOWN);
  expect(accuracy).toBeCloseTo(4 / 6, 12);
  expect(macro_precision).toBeCloseTo(2 / 3, 12);
  expect(macro_recall).toBeCloseTo((2 / 3 + 0.5 + 1) / 3, 12);
  expect(macro_f1).toBeCloseTo((0.8 + 0.5 + 2 / 3) / 3, 12);
});

test('a class that occurs neither as truth nor as prediction has noughts, and no part in the means', () => {
  const wider = [...KNOWN.map((row) => [...row, 0]), [0, 0, 0, 0]];
  expect(classScores(wider)[3]).toEqual({ precision: 0, recall: 0, f1: 0, support: 0 });
  expect(averages(wider)).toEqual(averages(KNOWN));
  expect(averages([[0]])).toEqual({ accuracy: 0, macro_precision: 0, macro_recall: 0, macro_f1: 0 });
});

test('the most frequent mistakes come first, those as frequent in the order of the classes', () => {
  expect(
    worstMistakes(
      [
        [9, 1, 4],
        [1, 9, 0],
        [0, 7, 9],
      ],
      3,
    ),
  ).toEqual([
    { truth: 2, predicted: 1, rows: 7 },
    { truth: 0, predicted: 2, rows: 4 },
    { truth: 0, predicted: 1, rows: 1 },
  ]);
});

const CLASSES = 5;
const pairs = fc.array(fc.tuple(fc.nat(CLASSES - 1), fc.nat(CLASSES - 1)), { minLength: 1, maxLength: 200 });

/** In two batches, the arrays longer than the rows that count. */
function count(rows: readonly (readonly [number, number])[]) {
  const counter = confusionCounter(CLASSES);
  const half = Math.floor(rows.length / 2);
  for (const part of [rows.slice(0, half), rows.slice(half)]) {
    const [truth, predicted] = [part.map(([t]) => t), part.map(([, p]) => p)];
    counter.add([...truth, 0], [...predicted, 1], part.length);
  }
  return counter.matrix();
}

test('every row is counted once, accuracy is the share of equal pairs, and every score is a share', () => {
  fc.assert(
    fc.property(pairs, (rows) => {
      const matrix = count(rows);
      expect(rowsOf(matrix)).toBe(rows.length);
      expect(isConfusion(matrix)).toBe(true);
      expect(averages(matrix).accuracy).toBeCloseTo(rows.filter(([t, p]) => t === p).length / rows.length, 12);
      for (const { precision, recall, f1 } of classScores(matrix)) {
        expect(f1).toBeGreaterThanOrEqual(Math.min(precision, recall) - 1e-12);
        expect(f1).toBeLessThanOrEqual(Math.max(precision, recall) + 1e-12);
        expect(Math.max(precision, recall)).toBeLessThanOrEqual(1);
      }
      expect(classScores(matrix).map(({ support }) => support)).toEqual(
        matrix.map((_, c) => rows.filter(([t]) => t === c).length),
      );
    }),
  );
});

test('who swaps truth and prediction swaps precision and recall; f1 stays', () => {
  fc.assert(
    fc.property(pairs, (rows) => {
      const there = classScores(count(rows));
      const back = classScores(count(rows.map(([t, p]) => [p, t])));
      expect(back.map(({ precision, recall, f1 }) => [recall, precision, f1])).toEqual(
        there.map(({ precision, recall, f1 }) => [precision, recall, f1]),
      );
    }),
  );
});

test.each([
  ['no matrix', 3],
  ['nothing', []],
  ['not square', [[1, 2]]],
  ['a fraction', [[0.5]]],
  ['a count below 0', [[-1]]],
  [
    'a hole',
    [
      [1, null],
      [0, 1],
    ],
  ],
  ['too many classes', Array.from({ length: MOST_SCORED_CLASSES + 1 }, () => [])],
])('is no matrix of counts: %s', (_, value) => {
  expect(isConfusion(value)).toBe(false);
});
