import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EMPTY_HEAD, nextHead, type SecurityEvent } from '../../runtime/events.ts';
import { off, opened, type Place, startPlace, train } from './place.ts';

let place: Place;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 4 } });
});
afterAll(() => place?.stop());

/** Rows of a run, as they came: one whose answer was lost came twice. */
async function rowsOf<T>(table: string, runId: string): Promise<(T & { readonly RunId: string })[]> {
  const log = place.emulator.deployment.emulator?.logs.trainer ?? '';
  const text = await readFile(log.replace('TrainingSecurity', table), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T & { readonly RunId: string })
    .filter((row) => row.RunId === runId);
}

test.each([
  ['every third call is answered 503', { kind: 'status', status: 503, every: 3 }],
  ['every third answer is lost', { kind: 'lose-reply', every: 3 }],
] as const)('%s: no event is lost, and none comes twice but by its head', async (_, fault) => {
  await place.emulator.faults.set('logs', fault);
  const runId = await train(place);
  await place.emulator.faults.clear('logs');
  await expectWhole(runId);
  await off(place);
});

test('the log service goes away in the middle of a run and comes back before its end: nothing is missing', async () => {
  const { faults, requests } = place.emulator;
  const before = requests.length;
  const running = train(place);
  await expect
    .poll(() => requests.slice(before).filter(({ service }) => service === 'logs').length, { timeout: 30_000 })
    .toBeGreaterThan(1);
  await faults.set('logs', { kind: 'down' });
  // It is back once the model is being written: what came meanwhile has to be delivered then.
  await expect
    .poll(() => requests.slice(before).some(({ method, path }) => method === 'PUT' && path.includes('/model')), {
      timeout: 30_000,
    })
    .toBe(true);
  await faults.clear('logs');
  await expectWhole(await running);
});

async function expectWhole(runId: string): Promise<void> {
  const events = new Map<string, SecurityEvent>();
  for (const event of await rowsOf<SecurityEvent>('TrainingSecurity', runId)) events.set(event.Head, event);
  let head = EMPTY_HEAD;
  for (const { Head, ...event } of events.values()) {
    head = nextHead(head, event);
    expect(Head).toBe(head);
  }
  expect([...events.values()].at(-1)?.Event).toBe('run.finished');
  expect((await opened(place, runId)).eventLogHead).toBe(head);
  const losses = await rowsOf<{ Metric: string; Step: number }>('TrainingMetrics', runId);
  expect(new Set(losses.filter(({ Metric }) => Metric === 'loss').map(({ Step }) => Step)).size).toBe(4);
}
