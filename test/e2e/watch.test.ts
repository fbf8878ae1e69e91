import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { signManifest } from '../../runtime/statements/manifest.ts';
import { type Ended, run } from './cli-process.ts';
import { type Place, startPlace, train } from './place.ts';

let place: Place;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 4 } });
});
afterAll(() => place?.stop());

const watch = (...more: readonly string[]): Promise<Ended> =>
  run(place.dir, 'watch', '--deployment', place.emulator.deploymentFile, ...more);

test('before any run it says what starts one', async () => {
  const { code, err } = await watch();
  expect(code).toBe(2);
  expect(err).toContain('there is no run yet: ctrain train starts one');
});

test('beside a training it tells each step, metric and event once, and ends with the run', async () => {
  const training = train(place);
  await expect.poll(() => place.emulator.requests.some(({ path }) => path.includes('/run.json'))).toBe(true);
  // The run's request may be on its way still.
  await expect.poll(async () => (await watch('--once')).code, { timeout: 20_000 }).toBe(0);
  const { code, out } = await watch('--json');
  const runId = await training;
  expect(code).toBe(0);
  const changes = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const events = changes.filter(({ type }) => type === 'event');
  expect(events.map(({ Event }) => Event)).toEqual(
    expect.arrayContaining(['run.started', 'environment.verified', 'key.released', 'model.sealed', 'run.finished']),
  );
  expect(new Set(events.map(({ Head }) => Head)).size).toBe(events.length);
  const losses = changes.filter(({ type, name }) => type === 'metric' && name === 'loss');
  expect(losses).toHaveLength(4);
  expect(changes.filter(({ type }) => type === 'alert')).toEqual([]);
  expect(changes.at(-1)).toMatchObject({ type: 'status', state: 'finished', runId });
});

test('a finished run at a glance', async () => {
  const { code, out } = await watch('--once');
  expect(code).toBe(0);
  expect(out).toMatch(/^run-\S+ {2}finished, /);
  expect(out).toMatch(/^ {2}loss +[▁▂▃▄▅▆▇█]+ {2}\d\.\d{4}$/m);
  expect(out).toMatch(/run\.finished success steps \d+\nalerts {2}none\n$/);
});

test('a page of it, that loads nothing', async () => {
  const file = join(place.dir, 'report.html');
  expect(await watch('--report', file)).toMatchObject({ code: 0, out: `written: ${file}\n` });
  const page = await readFile(file, 'utf8');
  expect(page).toMatch(/<td>state<\/td><td>finished, /);
  expect(page).toContain('<h3>loss</h3><svg');
  expect(page).toContain('<td>run.finished</td><td>success</td>');
  expect(page).not.toMatch(/<script|src=|href=/);
});

test('a refused run ends it with the reason, the code and the alert', async () => {
  const name = `${place.prefix}/manifest.dsse.json`;
  await place.datasets.put(
    name,
    serialiseEnvelope(signManifest({ ...place.manifest, version: 7 }, place.keys.signing)),
  );
  await expect(train(place)).rejects.toMatchObject({ code: 'CONSENT_MISSING' });
  const { code, out, err } = await watch();
  expect(code).toBe(8);
  expect(out).toContain(
    'alert, severity 1: A trainer refused data or a checkpoint that it was given (docs/runbook.md#data-refused)',
  );
  expect(err).toContain('CONSENT_MISSING');
});

test('a run that is not one', async () => {
  const { code, err } = await watch('--run', '../x');
  expect(code).toBe(2);
  expect(err).toContain("run id '../x': wanted up to 63 of a-z, 0-9 and -");
});
