import { expect, test } from 'vitest';
import { scoreLines, scoresOf } from '../../../scripts/model/score-table.ts';

test('a small table by class, and what was taken for what', () => {
  const { test: scores } = scoresOf(
    {
      test: [
        [2, 1, 0],
        [0, 1, 1],
        [0, 0, 1],
      ],
    },
    ['cat', 'a long name'],
  );
  expect(scores && scoreLines(scores)).toEqual([
    'class            precision  recall      f1  rows',
    'cat                 1.0000  0.6667  0.8000     3',
    'a long name         0.5000  0.5000  0.5000     2',
    'output 2            0.5000  1.0000  0.6667     1',
    'mean of classes     0.6667  0.7222  0.6556     6',
    'taken for another: cat as a long name 1, a long name as output 2 1',
  ]);
});

test('of many classes the worst', () => {
  const names = Array.from({ length: 25 }, (_, i) => `c${i}`);
  const confusion = names.map((_, i) =>
    names.map((__, j) => (i === j ? (i === 7 ? 1 : 9) : i === 7 && j === 8 ? 5 : 0)),
  );
  const lines = scoreLines(scoresOf({ test: confusion }, names).test ?? expect.fail());
  expect(lines).toHaveLength(24);
  expect(lines[1]).toMatch(/^c7 .*0\.2857 {5}6$/);
  expect(lines.slice(-2)).toEqual(['the 20 of 25 classes with the lowest f1', 'taken for another: c7 as c8 5']);
});
