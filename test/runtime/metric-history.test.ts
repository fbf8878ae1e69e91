import { expect, test } from 'vitest';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { MetricHistory, parseMetricHistory } from '../../runtime/metric-history.ts';
import { memoryStore } from './data/memory-store.ts';
import { rejection } from './rejection.ts';

const at = '2026-11-24T00:00:00.000Z';
const now = () => new Date(at);
const stored = (store: ReturnType<typeof memoryStore>) =>
  parseMetricHistory(store.blobs.get('run-1/metrics.json')?.bytes ?? new Uint8Array());

test('points come in order, and many cost few writes', async () => {
  const store = memoryStore();
  const history = new MetricHistory(store, 'run-1', now);
  for (let step = 1; step <= 50; step++) history.add('loss', step, 1 / step);
  await history.flush();
  expect(stored(store)).toHaveLength(50);
  expect(stored(store)[1]).toEqual({ name: 'loss', step: 2, value: 0.5, at });
  expect(store.calls.filter((call) => call.startsWith('put'))).toHaveLength(2);
});

test('a resumed run makes the steps since its checkpoint again: they are there once', async () => {
  const store = memoryStore();
  const first = new MetricHistory(store, 'run-1', now);
  for (const step of [10, 20, 30]) first.add('loss', step, step);
  first.add('accuracy', 30, 0.5);
  await first.flush();
  const second = new MetricHistory(store, 'run-1', now);
  second.add('loss', 20, 21);
  await second.flush();
  expect(stored(store).map(({ name, step, value }) => [name, step, value])).toEqual([
    ['loss', 10, 10],
    ['accuracy', 30, 0.5],
    ['loss', 20, 21],
  ]);
});

test('a store that is away never stops a training, and what it holds is begun anew where it is no history', async () => {
  const store = memoryStore();
  await store.put('run-1/metrics.json', utf8('{"version":2}'));
  expect(() => stored(store)).toThrow(rejection('EVIDENCE_MALFORMED', 'metrics.json: version: found 2, wanted 1'));
  store.fail = (call) => (call.startsWith('put') ? new Error('away') : undefined);
  const history = new MetricHistory(store, 'run-1', now);
  history.add('loss', 1, 0.5);
  await expect(history.flush()).rejects.toThrow('away');
  store.fail = () => undefined;
  await history.flush();
  expect(stored(store)).toHaveLength(1);
});

test('nothing is written where there is nothing', async () => {
  const store = memoryStore();
  await new MetricHistory(store, 'run-1', now).flush();
  expect(store.calls).toEqual([]);
});
