import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CAPTURED_QUESTIONS, STEPS } from '../../../scripts/live/plan.ts';
import { BY_HAND, QUESTIONS, type QuestionId } from '../../../scripts/live/questions.ts';

const DOC = readFileSync(new URL('../../../docs/first-deployment.md', import.meta.url), 'utf8');
/** Id and last column of every row of the tables of questions. */
const ROWS = new Map(
  [...DOC.matchAll(/^\| ([AKM]\d+) +\|(.*)\|$/gm)].map(([, id = '', cells = '']) => [
    id,
    cells.split('|').at(-1) ?? '',
  ]),
);
const filesOf = (id: QuestionId) => STEPS.filter(({ questions }) => questions.includes(id)).map(({ file }) => file);

test('the document and the capture ask the same questions', () => {
  expect([...ROWS.keys()].sort()).toEqual(Object.keys(QUESTIONS).sort());
});

test.each([...CAPTURED_QUESTIONS])('the row of %s names each file that settles it', (id) => {
  const named = [...(ROWS.get(id) ?? '').matchAll(/`([a-z0-9-]+\.(?:json|bin|der))`/g)].map(([, file]) => file);
  expect(named.sort()).toEqual(filesOf(id).sort());
  expect(named).not.toEqual([]);
});

test.each(Object.keys(BY_HAND) as QuestionId[])('the row of %s says that a person answers it', (id) => {
  expect(ROWS.get(id)).toContain('by hand');
  expect(filesOf(id)).toEqual([]);
});
