import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KeyClient } from '@azure/keyvault-keys';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { queueRun, writeStatus } from '../../runtime/queue.ts';
import { type Agreement, agreementStatement, verifyAgreement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement, statementDigest } from '../../runtime/statements/dsse.ts';
import { type Manifest, verifyManifest } from '../../runtime/statements/manifest.ts';
import type { Reporter } from '../../scripts/progress.ts';
import { prepareRun } from '../../scripts/run/pipeline.ts';
import { type Ended, listing, newFolder, run, start } from './cli-process.ts';
import { flowers, off, opened, type Place, startPlace, train } from './place.ts';

interface Reencrypted {
  readonly to: string;
  readonly datasets: readonly {
    readonly version: number;
    readonly from: number;
    readonly prefix: string;
    readonly sealed: number;
  }[];
  readonly agreements: readonly { readonly name: string; readonly file?: string; readonly hindrance?: string }[];
  readonly old: readonly { readonly prefix: string; readonly copies: Readonly<Record<string, number>> }[];
}

let place: Place;
/** Where commands stand; nothing but proposals may come to lie here. */
let folder: string;
let keyFile: string;
let flags: readonly string[];
/** Instants are counted in requests, so that they hit on a machine of any speed. */
let requestsOfOne: number;
let first: Reencrypted;
let weightsBefore: string;

beforeAll(async () => {
  // 10 objects or so.
  place = await startPlace({ rows: 80_000, training: { epochs: 1, batch_size: 512, checkpoint_steps: 500 } });
  folder = await newFolder();
  keyFile = join(place.dir, 'ctrain-key.json');
  const { signing, decryption, name } = place.keys;
  const keys = [
    { ...signing.export({ format: 'jwk' }), use: 'sig' },
    { ...decryption.export({ format: 'jwk' }), use: 'enc' },
  ];
  await writeFile(keyFile, JSON.stringify({ version: 1, name, keys }));
  flags = ['--owner-key', keyFile, '--deployment', place.emulator.deploymentFile];
  weightsBefore = await weights(await train(place));
  const before = place.emulator.requests.length;
  first = await reencrypt();
  requestsOfOne = place.emulator.requests.length - before;
});
afterAll(() => place?.stop());

const command = (...more: readonly string[]) => ['rotate-keys', '--reencrypt', '--json', ...flags, ...more];
const rotateKeys = (...more: readonly string[]): Promise<Ended> => run(folder, 'rotate-keys', ...flags, ...more);

async function reencrypt(...more: readonly string[]): Promise<Reencrypted> {
  const ended = await run(folder, ...command(...more));
  expect(ended).toMatchObject({ code: 0 });
  return JSON.parse(ended.out) as Reencrypted;
}

async function weights(runId: string): Promise<string> {
  await opened(place, runId);
  return (await readFile(join(place.dir, 'models', runId, 'model', 'weights.bin'))).toString('hex');
}

async function manifestOf(prefix: string): Promise<Manifest> {
  const found = await place.datasets.get(`${prefix}/manifest.dsse.json`);
  return verifyManifest(found?.bytes ?? new Uint8Array(), place.keys.signingJwk).manifest;
}

async function blobs(prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of place.datasets.list(`${prefix}/`)) names.push(name.slice(prefix.length + 1));
  return names.sort();
}

/** Nothing lies in a version's folder but what its manifest names. */
async function expectWhole(prefix: string): Promise<void> {
  const { objects } = await manifestOf(prefix);
  const wanted = objects.flatMap(({ name }) => [name, `${name}.leaves`]);
  expect(await blobs(prefix)).toEqual([...wanted, 'keys.json', 'manifest.dsse.json'].sort());
  expect(await run(folder, 'inspect', prefix, '--deep', ...flags)).toMatchObject({ code: 0 });
}

test('the newest version becomes another one, under another key, and the old one stays whole', async () => {
  const [made] = first.datasets;
  expect(made).toMatchObject({ from: 1, version: 2, sealed: place.manifest.objects.length });
  await expectWhole(made?.prefix ?? '');
  expect(await run(folder, 'inspect', place.prefix, '--deep', ...flags)).toMatchObject({ code: 0 });
  expect(first.old).toMatchObject([{ prefix: place.prefix, copies: { live: place.manifest.objects.length * 2 + 2 } }]);
});

test('the agreement is prepared again, unsigned, and trains the same weights once it is approved', async () => {
  const [{ file = '' } = {}, ...others] = first.agreements;
  expect(others).toEqual([]);
  const path = join(folder, file);
  await expect(readFile(path).then((bytes) => verifyAgreement(bytes))).rejects.toThrow('no valid signature of owner');
  expect(await run(folder, 'approve', '--yes', '--agreement', file, ...flags)).toMatchObject({ code: 0 });
  const bytes = await readFile(path);
  const { agreement } = verifyAgreement(bytes);
  const { agreement: before } = verifyAgreement(place.agreement);
  const rest = ({ owners: _, ...same }: Agreement) => same;
  expect(rest(agreement)).toEqual(rest(before));
  expect(agreement.owners).toMatchObject([
    { keyVersion: first.to.slice(-32), datasets: [{ version: 2, prefix: first.datasets[0]?.prefix }] },
  ]);
  expect(await weights(await train(place, bytes))).toBe(weightsBefore);
});

test('what somebody put into the queue unsigned is not prepared again', async () => {
  const { agreement } = verifyAgreement(place.agreement);
  const forged = signStatement(agreementStatement({ ...agreement, name: 'forged' }), []);
  const request = {
    version: 1,
    runId: 'run-forged',
    agreementDigest: statementDigest(forged),
    requestedAt: '2026-01-01T00:00:00.000Z',
  } as const;
  await queueRun(place.runs, request, serialiseEnvelope(forged));
  await writeStatus(place.runs, {
    version: 1,
    runId: 'run-forged',
    state: 'finished',
    step: 'done',
    updatedAt: request.requestedAt,
  });
  const names = (await reencrypt('--existing')).agreements.map(({ name }) => name);
  expect(names).not.toContain('forged');
  expect(names).toHaveLength(1);
});

test.each([0.1, 0.3, 0.5, 0.7, 0.9])(
  'kill -9 at %f of it: the same command finishes the same version',
  async (part) => {
    const [{ version = 0 } = {}] = first.datasets;
    const newest = async () => Math.max(version, ...(await versions()));
    const before = await newest();
    const asked = place.emulator.requests.length;
    const killed = start(folder, ...command());
    let isOver = false;
    void killed.ended.then(() => {
      isOver = true;
    });
    while (place.emulator.requests.length - asked < part * requestsOfOne && !isOver) await delay(1);
    killed.kill('SIGKILL');
    await killed.ended;
    const made = (await reencrypt()).datasets[0];
    expect(made?.version).toBe(before + 1);
    await expectWhole(made?.prefix ?? '');
    expect(await place.datasets.properties(`${place.keys.ownerId}/reencryption.dsse.json`)).toBeUndefined();
  },
);

/** Versions of the dataset that are signed. */
async function versions(): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of place.datasets.list(`${place.keys.ownerId}/`)) {
    const [, , version, file] = name.split('/');
    if (file === 'manifest.dsse.json') found.push(Number(version));
  }
  return found;
}

test('two at once make one version', async () => {
  const before = Math.max(...(await versions()));
  const made = await Promise.all([reencrypt('--existing'), reencrypt('--existing')]);
  // One that began when the other had ended makes another; what they make is whole either way.
  for (const { datasets } of made) await expectWhole(datasets[0]?.prefix ?? '');
  expect(Math.max(...(await versions()))).toBeLessThanOrEqual(before + 2);
});

test('no plaintext and no key came to lie where the command stood', async () => {
  expect((await listing(folder)).filter((name) => !/^agreements(\/.*\.dsse\.json)?$/.test(name))).toEqual([]);
});

test('an older version is deleted once nothing refers to it, and what the store keeps is told', async () => {
  const newest = Math.max(...(await versions()));
  const current = place.prefix.replace(/1$/, String(newest));
  expect(await rotateKeys('--retire', current, '--yes')).toMatchObject({
    code: 2,
    out: '',
    err: expect.stringContaining('no newer version of it is signed'),
  });
  expect(await rotateKeys('--retire', place.prefix)).toMatchObject({
    code: expect.any(Number),
    err: expect.stringContaining('There is no terminal to ask on'),
  });
  expect(await blobs(place.prefix)).not.toEqual([]);
  const runId = 'run-19990101-000000-aaaaaa';
  const { digest } = verifyAgreement(place.agreement);
  await queueRun(
    place.runs,
    { version: 1, runId, agreementDigest: digest, requestedAt: '1999-01-01T00:00:00.000Z' },
    place.agreement,
  );
  expect(await rotateKeys('--retire', place.prefix, '--yes')).toMatchObject({
    code: 2,
    err: expect.stringContaining('1 runs of agreement'),
  });
  await writeStatus(place.runs, {
    version: 1,
    runId,
    state: 'finished',
    step: 'done',
    updatedAt: '1999-01-01T00:00:00.000Z',
  });
  expect(await rotateKeys('--retire', place.prefix, '--yes')).toMatchObject({
    code: 0,
    out: expect.stringContaining(`deleted ${place.manifest.objects.length * 2 + 2} blobs of ${place.prefix}`),
  });
  expect(await blobs(place.prefix)).toEqual([]);
  await expect(train(place)).rejects.toThrow('manifest.dsse.json');
  await off(place);
  const again = {
    data: { inputPath: join(place.dir, 'flowers.csv') },
    configuration: () => verifyAgreement(place.agreement).agreement.configuration,
    workDir: join(place.dir, 'work'),
    keepPlaintext: false,
    consent: async () => undefined,
  };
  const quiet: Reporter = { line: () => undefined, step: (_, work) => work(() => undefined) };
  await expect(prepareRun(place.context, place.keys, again, quiet)).rejects.toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('is no longer in the store') }),
  );
});

test.each([
  ['somebody else’s version', ['--retire', `${'A'.repeat(43)}/flowers/1`], 'wanted the id of a vault key'],
  ['a version that is not there', ['--retire', 'OWNER/flowers/99'], 'there is nothing'],
  ['two things at once', ['--retire', 'x', '--reencrypt'], '--retire rotates nothing'],
  ['another dataset', ['--reencrypt', '--dataset', 'absent'], 'no dataset absent of owner'],
])('refuses %s', async (_, more, message) => {
  const own = more.map((word) => word.replace('OWNER', place.keys.ownerId));
  expect(await rotateKeys(...own)).toMatchObject({ code: 2, err: expect.stringContaining(message) });
});

/** Prepares, seals and uploads rows of its own through the commands. */
async function sealed(dataset: string, ...more: readonly string[]): Promise<Ended> {
  const at = await newFolder();
  await writeFile(join(at, 'rows.csv'), flowers(600));
  const last: Ended[] = [await run(at, 'prepare-data', '-i', 'rows.csv')];
  last.push(await run(at, 'encrypt-data', '-i', 'processed', '--dataset', dataset, ...flags, ...more));
  if (last.at(-1)?.code === 0) last.push(await run(at, 'upload', ...flags));
  return last.at(-1) as Ended;
}

test('without an escrow slot nothing can be rotated', async () => {
  expect(await sealed('bare', '--no-escrow')).toMatchObject({ code: 0 });
  for (const kind of [[], ['--reencrypt']]) {
    expect(await rotateKeys('--dataset', 'bare', ...kind)).toMatchObject({
      code: 7,
      err: expect.stringContaining('sealed with --no-escrow'),
    });
  }
  // Nothing that a later call for another dataset would have to go on with.
  for (const journal of ['reencryption.dsse.json', 'rotation.json'])
    expect(await place.datasets.properties(`${place.keys.ownerId}/${journal}`)).toBeUndefined();
});

test('an escrow key in the owner’s vault: sealing uses its public half, rotating has the vault unwrap', async () => {
  const { network, credential, deployment } = place.context;
  const vault = new KeyClient(`https://${deployment.owner.vaultHost}`, credential, { httpClient: network.httpClient });
  await vault.createRsaKey('escrow', { hsm: true, keySize: 2048, keyOps: ['wrapKey', 'unwrapKey'] });
  await vault.createRsaKey('wrap-only', { hsm: true, keySize: 2048, keyOps: ['wrapKey'] });
  const [trainingKey = ''] = deployment.owner.keyNames;
  for (const [name, reason] of [
    ['wrap-only', 'key_ops: found wrapKey, wanted unwrapKey'],
    [trainingKey, "it is the dataset's own key"],
    ['absent', 'there is no key absent'],
  ] as const) {
    expect(await sealed('escrowed', '--escrow-key', name)).toMatchObject({
      code: 2,
      err: expect.stringContaining(reason),
    });
  }
  expect(await sealed('escrowed', '--escrow-key', 'escrow', '--no-escrow')).toMatchObject({ code: 2 });
  const unwrappings = () => place.emulator.requests.filter(({ path }) => path.includes('/unwrapkey')).length;
  expect(await sealed('escrowed', '--escrow-key', 'escrow')).toMatchObject({ code: 0 });
  expect(unwrappings()).toBe(0);
  expect(await rotateKeys('--dataset', 'escrowed')).toMatchObject({
    code: 7,
    err: expect.stringContaining('--escrow-key'),
  });
  expect(await rotateKeys('--dataset', 'escrowed', '--escrow-key', 'escrow')).toMatchObject({ code: 0 });
  const objects = (await manifestOf(`${place.keys.ownerId}/escrowed/1`)).objects.length;
  expect(unwrappings()).toBe(objects);
  // Old and new slot of each.
  expect((await reencrypt('--dataset', 'escrowed', '--escrow-key', 'escrow')).datasets).toMatchObject([{ version: 2 }]);
  expect(unwrappings()).toBe(3 * objects);
  await expectWhole(`${place.keys.ownerId}/escrowed/2`);
  expect(await readdir(folder)).toEqual(['agreements']);
});
