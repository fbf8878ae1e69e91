import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { submitRun } from '../../scripts/run/submit.ts';
import { leftBehind, off, type Place, securityEvents, startPlace } from './place.ts';

let place: Place;

beforeAll(async () => {
  place = await startPlace({ entry: fileURLToPath(new URL('./unhygienic-entry.ts', import.meta.url)) });
});
afterAll(() => place?.stop());

test('a trainer in a process that could leak asks nobody for a token or a key, and takes no run', async () => {
  const before = place.emulator.requests.length;
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  await off(place);
  expect(place.serial.filter((line) => /hygiene|failed=/.test(line))).toEqual([
    'ctrain: step=hygiene state=failed',
    'ctrain: failed=process: not (environment is scrubbed)',
    'ctrain: failed=process: not (inspector is closed)',
  ]);
  const asked = place.emulator.requests.slice(before).map(({ service }) => service);
  expect(asked).not.toContain('vault');
  expect(asked).not.toContain('attestation');
  expect(place.serial.filter((line) => /step=(?!hygiene|deallocate)/.test(line))).toEqual([]);
  expect(await leftBehind(place, runId)).toEqual([]);
  expect(await securityEvents(place)).toMatchObject([
    { Event: 'run.refused', RunId: '', Detail: expect.stringMatching(/^hygiene process: not/) },
  ]);
});
