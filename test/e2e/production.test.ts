import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { TRAINER_FLAGS } from '../../runtime/catalogue.ts';
import { bundleTrainer } from '../../scripts/bundle.ts';
import { type Place, startPlace, train } from './place.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let place: Place;
let folder: string;
let bundle: Awaited<ReturnType<typeof bundleTrainer>>;

beforeAll(async () => {
  place = await startPlace({ entry: fileURLToPath(new URL('./production-entry.ts', import.meta.url)) });
  folder = await mkdtemp(join(tmpdir(), 'ctrain-production-'));
  bundle = await bundleTrainer();
  for (const { name, bytes } of bundle.entries) await writeFile(join(folder, name), bytes);
});
afterAll(async () => {
  await place?.stop();
  await rm(folder, { recursive: true, force: true });
});

function sources(below: string): string[] {
  return readdirSync(below, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

test('the bundle holds the pinned roots and none of an emulator', () => {
  const text = bundle.entries.map(({ bytes }) => Buffer.from(bytes).toString('latin1')).join('\n');
  for (const digest of [...Object.values(AZURE_TRUST.amdRootKeys), ...AZURE_TRUST.vaultRoots])
    expect(text).toContain(digest);
  const { trust } = place.emulator;
  const emulated = [...Object.values(trust.amdRootKeys), ...trust.vaultRoots].filter((digest) => !/^0+$/.test(digest));
  expect(emulated.length).toBeGreaterThanOrEqual(2);
  for (const digest of emulated) expect(text).not.toContain(digest);
  expect(text).not.toContain('emulatorNetwork');
});

test('only entry points of the runtime look at the environment or the arguments', () => {
  const looking = sources(join(ROOT, 'runtime')).filter((path) =>
    /process\.(env|argv)\b/.test(readFileSync(path, 'utf8')),
  );
  expect(looking.map((path) => relative(ROOT, path))).toEqual(['runtime/main.ts', 'runtime/worker.ts']);
  // The one place where production chooses its roots names them, and nothing else.
  expect(readFileSync(join(ROOT, 'runtime/main.ts'), 'utf8')).toContain('trust: AZURE_TRUST');
});

test("a trainer with production's roots refuses an emulated machine, and the vault is never asked", async () => {
  const before = place.emulator.requests.length;
  await expect(train(place)).rejects.toMatchObject({
    code: 'ATTESTATION_REJECTED',
    message: expect.stringContaining('root is the pinned key'),
  });
  expect(place.emulator.requests.slice(before).filter(({ service }) => service === 'vault')).toEqual([]);
});

test.each([
  ['a root certificate by variable', { NODE_EXTRA_CA_CERTS: '/dev/null' }, 'environment is scrubbed'],
  ['TLS switched off', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, 'environment is scrubbed'],
  ['options by variable', { NODE_OPTIONS: '--no-warnings' }, 'environment is scrubbed'],
])('the production entry point does not start with %s', async (_, env, check) => {
  const config = join(folder, 'machine.json');
  const { deployment } = place.emulator;
  await writeFile(
    config,
    JSON.stringify({
      version: 1,
      vmResourceId: deployment.trainer.vmIds[0],
      identityClientId: deployment.trainer.identityClientId,
      blobEndpoint: deployment.storage.blobEndpoint,
      bundleSha256: deployment.trainer.bundleSha256,
      logs: deployment.logs,
      vtpm: '/dev/tpmrm0',
    }),
  );
  const started = promisify(execFile)(process.execPath, [...TRAINER_FLAGS, join(folder, 'main.mjs'), config], { env });
  await expect(started).rejects.toMatchObject({ code: 5, stderr: expect.stringContaining(check) });
});

test('the production entry point takes one argument and no switch', async () => {
  const started = promisify(execFile)(
    process.execPath,
    [...TRAINER_FLAGS, join(folder, 'main.mjs'), '--emulator-roots', 'x'],
    { env: {} },
  );
  await expect(started).rejects.toMatchObject({
    stderr: expect.stringContaining('CONFIG_INVALID no machine configuration at --emulator-roots'),
  });
});
