import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SecurityEvent } from '../../../runtime/events.ts';
import { runReport } from '../../../scripts/watch/report.ts';
import type { RunSnapshot } from '../../../scripts/watch/run-view.ts';

const event = (Event: string, Outcome = 'success', Detail = 'owner 7') =>
  ({ TimeGenerated: '2026-11-24T16:00:00.000Z', RunId: 'run-1', Event, Outcome, Detail, Head: Event }) as SecurityEvent;
const point = (step: number, value: number, name = 'loss') => ({ name, step, value, at: '2026-11-24T16:00:00Z' });
const snapshot = (change: Partial<RunSnapshot> = {}): RunSnapshot => ({
  runId: 'run-1',
  status: { version: 1, runId: 'run-1', state: 'finished', step: 'exporting', updatedAt: '2026-11-24T16:00:09.000Z' },
  metrics: [point(20, 0.5), point(10, 1)],
  events: [event('run.started'), event('data.opened', 'failure')],
  at: new Date('2026-11-24T16:00:10Z'),
  ...change,
});

test('state, curves, values, alerts and events; nothing is loaded or run', () => {
  const page = runReport(snapshot());
  expect(page).toContain('<td>state</td><td>finished, exporting</td>');
  expect(page).toContain('points="360,0 720,260"');
  expect(page).toContain('<td>loss</td><td>0.5</td><td>20</td>');
  expect(page).toContain('<td>severity 1</td><td>A trainer refused data or a checkpoint that it was given</td>');
  expect(page).toContain('<td>data.opened</td><td class="failure">failure</td><td>owner 7</td>');
  expect(page).toContain("default-src 'none'");
  expect(page).not.toMatch(/<script|src=|href=|url\(/);
});

test('no text of others becomes a tag or an attribute', () => {
  const hostile = fc.oneof(fc.string(), fc.constantFrom('</title><script>', '"><img onerror=x>', '<!--', "' onload='"));
  const tags = (page: string) => page.match(/<[a-z!/][^\s>]*/g)?.filter((tag) => !/^<\/?(td|tr)/.test(tag));
  const usual = tags(runReport(snapshot({ events: [event('x')] })));
  fc.assert(
    fc.property(hostile, hostile, (one, other) => {
      const page = runReport(snapshot({ runId: one, events: [event(one, 'success', other)] }));
      expect(tags(page)).toEqual(usual);
    }),
  );
});

test('ten thousand points stay below 200 kB, with their peak', () => {
  const metrics = Array.from({ length: 10_000 }, (_, i) => point(i, i === 5_000 ? 9 : Math.sin(i)));
  const page = runReport(snapshot({ metrics }));
  expect(page.length).toBeLessThan(200_000);
  expect(page).toContain('step 5000: 9');
});
