import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SecurityEvent } from '../../../runtime/events.ts';
import type { RunStatus } from '../../../runtime/queue.ts';
import { changeJson, changeLine, changes } from '../../../scripts/watch/changes.ts';
import { metricLines, type RunSnapshot, runView, sparkline } from '../../../scripts/watch/run-view.ts';

const AT = new Date('2026-11-24T16:00:10Z');
const event = (Event: string, change: Partial<SecurityEvent> = {}): SecurityEvent =>
  ({
    TimeGenerated: '2026-11-24T16:00:00.000Z',
    RunId: 'run-1',
    Machine: '/vm/1',
    Agreement: 'a',
    Event,
    Outcome: 'success',
    Detail: 'owner 7',
    KeyId: '',
    Manifest: '',
    Head: Event,
    ...change,
  }) as SecurityEvent;
const running: RunStatus = {
  version: 1,
  runId: 'run-1',
  state: 'running',
  step: 'training',
  progress: { epoch: 2, epochs: 4, step: 50, steps: 100, samplesPerSecond: 12_000, loss: 0.5 },
  updatedAt: '2026-11-24T16:00:09.000Z',
};
const point = (step: number, value: number, name = 'loss') => ({ name, step, value, at: '2026-11-24T16:00:00Z' });
const snapshot = (change: Partial<RunSnapshot> = {}): RunSnapshot => ({
  runId: 'run-1',
  status: running,
  metrics: [point(50, 0.5), point(25, 1)],
  events: [event('run.started'), event('key.released')],
  at: AT,
  ...change,
});

test('a run in its middle', () => {
  expect(runView()(snapshot(), 120)).toEqual([
    'run-1  running, training',
    '  ████████████░░░░░░░░░░░░ 50 %, epoch 2/4, 12,000 samples/s, loss 0.5000',
    '  loss  █▁  0.5000',
    'events  16:00:00 run.started success owner 7',
    '        16:00:00 key.released success owner 7',
    'alerts  none',
  ]);
});

test.each([
  ['nothing yet', { status: undefined, metrics: [], events: [] }, 'run-1  queued, waiting for a machine'],
  ['silence', { at: new Date('2026-11-24T16:01:09Z') }, 'run-1  running, training, nothing heard for 60 s'],
  ['a clock that runs behind', { at: new Date('2026-11-24T15:00:00Z') }, 'run-1  running, training'],
])('%s', (_, change, first) => {
  expect(runView()(snapshot(change), 120)[0]).toBe(first);
});

test('why a run ended, what failed, and the alert that it fires with its entry in the runbook', () => {
  const status: RunStatus = { ...running, state: 'refused', message: 'data refused', failures: ['a', 'b'] };
  const events = [event('data.opened', { Outcome: 'failure' })];
  expect(runView()(snapshot({ status, events }), 160).slice(-4)).toEqual([
    'alerts  severity 1: A trainer refused data or a checkpoint that it was given (docs/runbook.md#data-refused)',
    'data refused',
    '  a',
    '  b',
  ]);
});

test('time left, once there is something to go by', () => {
  const view = runView();
  view(
    snapshot({
      at: new Date(AT.getTime() - 10_000),
      status: { ...running, progress: { epoch: 1, epochs: 4, step: 25, steps: 100, samplesPerSecond: 1 } },
    }),
    120,
  );
  expect(view(snapshot(), 120)[1]).toContain('loss 0.5000, 20 s left');
});

test('no text of others reaches a terminal with something that it would obey, nor a line wider than it', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('\u001b[2J', '\u202e', '<b>', '\n', '\u0007'));
  fc.assert(
    fc.property(text, text, fc.integer({ min: 10, max: 200 }), (one, other, columns) => {
      const status: RunStatus = { ...running, step: one, message: other, failures: [one] };
      const events = [event('run.started', { Detail: other, TimeGenerated: one })];
      for (const line of runView()(snapshot({ status, events }), columns)) {
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect([...line].length).toBeLessThanOrEqual(columns);
      }
      for (const change of changes()(snapshot({ status, events }))) {
        expect(changeLine(change) ?? '').not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(JSON.stringify(changeJson(change))).not.toMatch(/\p{Cc}/u);
      }
    }),
  );
});

test('a sparkline has a block for each value or stretch, lowest to highest', () => {
  expect(sparkline([])).toBe('');
  expect(sparkline([3])).toBe('▁');
  expect(sparkline([1, 1, 1])).toBe('▁▁▁');
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█');
  expect([...sparkline(Array.from({ length: 10_000 }, (_, i) => i))]).toHaveLength(32);
});

test('metrics in the order of their names, points in that of their steps', () => {
  expect(metricLines([point(2, 1, 'b'), point(2, 0.25), point(1, 4), point(1, 0, 'b')])).toEqual([
    '  b     ▁█  1.0000',
    '  loss  █▁  0.2500',
  ]);
});

test('each change is told once, whatever is read twice', () => {
  const changed = changes();
  const lines = (each: RunSnapshot) => changed(each).map(changeLine);
  expect(lines(snapshot())).toEqual([
    '16:00:00 run.started success owner 7',
    '16:00:00 key.released success owner 7',
    'loss 0.5000 at step 50',
    'loss 1.0000 at step 25',
    'running: training, epoch 2/4, 12,000 samples/s, loss 0.5000',
  ]);
  expect(lines(snapshot())).toEqual([]);
  const later = { ...running, updatedAt: '2026-11-24T16:00:11.000Z' };
  expect(changed(snapshot({ status: later })).map(({ type }) => type)).toEqual(['progress']);
  const ended: RunStatus = { ...later, state: 'finished', step: 'exporting', updatedAt: '2026-11-24T16:00:12.000Z' };
  expect(
    lines(snapshot({ status: ended, events: [event('run.started'), event('run.refused', { Outcome: 'failure' })] })),
  ).toEqual([
    '16:00:00 run.refused failure owner 7',
    'alert, severity 2: A run was refused (docs/runbook.md#run-refused)',
    'finished: exporting, epoch 2/4, 12,000 samples/s, loss 0.5000',
  ]);
});
