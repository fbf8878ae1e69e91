import { expect, test } from 'vitest';
import { sweepPage } from '../../../scripts/sweep/page.ts';

const point = (step: number, value: number) => ({
  name: 'validation_loss',
  step,
  value,
  at: '2026-11-24T00:00:00.000Z',
});
const trials = [
  { set: { 'training.seed': '1' }, folder: 'models/a', metrics: { validation_loss: 0.5 } },
  { set: { 'training.seed': '<2>' }, error: 'a < b & c' },
];

test('a curve for each model, a row for each trial, and nothing is loaded or run', () => {
  const page = sweepPage('2 runs', trials, 'validation_loss', new Map([['models/a', [point(10, 1), point(20, 0.5)]]]));
  expect(page).toContain('points="360,0 720,260"');
  expect(page).toContain('<td>1</td><td>0.5000</td><td>models/a</td>');
  expect(page).toContain('<td>&#60;2&#62;</td><td>-</td><td>a &#60; b &#38; c</td>');
  expect(page).toContain("default-src 'none'");
  expect(page).not.toMatch(/<script|src=|href=/);
});

test('without curves there is no plot', () => {
  expect(sweepPage('x', trials, 'validation_loss', new Map())).not.toContain('<svg');
});
