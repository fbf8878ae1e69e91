import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Fault, ServiceName } from '../../emulator/faults.ts';
import { leftBehind, off, opened, type Place, startPlace, train } from './place.ts';

const SERVICES: readonly ServiceName[] = ['attestation', 'vault', 'storage', 'metadata', 'resource-manager', 'logs'];

let place: Place;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 1 } });
});
afterAll(() => place?.stop());
afterEach(async () => {
  for (const service of SERVICES) await place.emulator.faults.clear(service);
  await off(place);
});

const PASSING: readonly [string, ServiceName, Fault][] = [
  ['attestation answers 500 twice', 'attestation', { kind: 'status', status: 500, count: 2 }],
  ['attestation resets two connections', 'attestation', { kind: 'reset', count: 2 }],
  ['the vault throttles', 'vault', { kind: 'status', status: 429, retryAfterSeconds: 1, count: 1 }],
  ['the vault is slow', 'vault', { kind: 'delay', milliseconds: 400, count: 3 }],
  ['the vault loses its reply', 'vault', { kind: 'lose-reply', count: 1, match: /release/ }],
  [
    'storage answers 503 now and then',
    'storage',
    { kind: 'status', status: 503, count: 3, match: /\/(datasets|runs)\// },
  ],
  ['storage resets connections', 'storage', { kind: 'reset', count: 3, match: /\/(datasets|runs)\// }],
  ['the metadata service hiccups', 'metadata', { kind: 'status', status: 500, count: 2 }],
  ['the log service is down', 'logs', { kind: 'down' }],
];

test.each(PASSING)('%s: the run finishes all the same', async (_, service, fault) => {
  await place.emulator.faults.set(service, fault);
  const runId = await train(place);
  expect((await opened(place, runId)).metrics).toHaveProperty('test_accuracy');
});

test.each(['attestation', 'vault'] as const)(
  '%s down for good: retried, then UNAVAILABLE, and the same command finishes later',
  async (service) => {
    await place.emulator.faults.set(service, { kind: 'status', status: 503 });
    const before = place.emulator.requests.length;
    const error = await train(place).catch((refused: unknown) => refused as { code: string; message: string });
    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
    const asked = place.emulator.requests.slice(before).filter((request) => request.service === service);
    expect(asked.length).toBeGreaterThanOrEqual(4);
    const runId = /run-[0-9a-z-]+/.exec((error as { message: string }).message)?.[0] ?? '';
    expect(await leftBehind(place, runId)).toEqual([]);

    await place.emulator.faults.clear(service);
    expect(await train(place)).toBe(runId);
  },
);

test('storage down while a checkpoint is written: nothing half-written, and the same command finishes later', async () => {
  await place.emulator.faults.set('storage', { kind: 'status', status: 500, match: /PUT .*checkpoints/ });
  const error = await train(place).catch((refused: unknown) => refused as { code: string; message: string });
  expect(error).toMatchObject({ code: 'UNAVAILABLE' });
  const runId = /run-[0-9a-z-]+/.exec((error as { message: string }).message)?.[0] ?? '';
  expect(await leftBehind(place, runId)).toEqual([]);
  await place.emulator.faults.clear('storage');
  expect(await train(place)).toBe(runId);
});

test('everything down: the command says UNAVAILABLE', async () => {
  await place.emulator.faults.set('storage', { kind: 'down' });
  await expect(train(place)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test.each([401, 403, 404])('a release refused with %i is not asked for again', async (status) => {
  await place.emulator.faults.set('vault', { kind: 'status', status, match: /\/release/ });
  const before = place.emulator.requests.length;
  await expect(train(place)).rejects.toMatchObject({ code: 'RELEASE_DENIED' });
  const releases = place.emulator.requests.slice(before).filter(({ path }) => path.includes('/release'));
  expect(releases).toHaveLength(1);
});
