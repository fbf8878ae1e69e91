import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Ended, listing, newFolder, run, start } from './cli-process.ts';
import { type Place, startPlace } from './place.ts';

let place: Place;
let keyFile: string;
/** Where each test stands. */
let folder: string;
let requestsOfOne: number;

beforeAll(async () => {
  // 10 objects or so.
  place = await startPlace({ rows: 80_000 });
  keyFile = join(place.dir, 'ctrain-key.json');
  await writeKeys(keyFile);
  folder = await newFolder();
  const before = place.emulator.requests.length;
  expect(await download()).toMatchObject({ code: 0 });
  requestsOfOne = place.emulator.requests.length - before;
});
beforeEach(async () => {
  folder = await newFolder();
});
afterAll(() => place?.stop());

async function writeKeys(path: string): Promise<void> {
  const { signing, decryption, name } = place.keys;
  const keys = [
    { ...signing.export({ format: 'jwk' }), use: 'sig' },
    { ...decryption.export({ format: 'jwk' }), use: 'enc' },
  ];
  await writeFile(path, JSON.stringify({ version: 1, name, keys }));
}

const command = (...more: readonly string[]) => [
  ...['download', place.prefix, '--output-dir', 'here', '--json', '--deployment', place.emulator.deploymentFile],
  ...(more.length === 0 ? ['--owner-key', keyFile] : more),
];
const download = (...more: readonly string[]): Promise<Ended> => run(folder, ...command(...more));

const uploadFlags = () => ['--owner-key', keyFile, '--deployment', place.emulator.deploymentFile];

/** Kills a command once it has made a part of the requests that an undisturbed one makes. */
async function killAt(part: number, requests: number, args: readonly string[]): Promise<void> {
  const before = place.emulator.requests.length;
  const killed = start(folder, ...args);
  let isOver = false;
  void killed.ended.then(() => {
    isOver = true;
  });
  while (place.emulator.requests.length - before < part * requests && !isOver) await delay(1);
  killed.kill('SIGKILL');
  expect((await killed.ended).code).toBe(null);
}

/** What encrypt-data would have left. */
function whole(): string[] {
  const objects = place.manifest.objects.flatMap(({ name }) => [name, `${name}.leaves`, `${name}.encryptiondata.json`]);
  return [...objects, 'keys.json', 'manifest.dsse.json'].sort();
}

test('brings every object, sealed as it is, and says so', async () => {
  const ended = await download();
  expect(JSON.parse(ended.out)).toMatchObject({
    folder: 'here',
    version: 1,
    fetched: place.manifest.objects.map(({ name }) => name),
  });
  expect(await listing(join(folder, 'here'))).toEqual(whole());
  const [object] = place.manifest.objects;
  const bytes = await readFile(join(folder, 'here', object?.name ?? ''));
  const stored = await place.datasets.get(`${place.prefix}/${object?.name}`);
  expect(Buffer.compare(bytes, stored?.bytes ?? new Uint8Array())).toBe(0);
  expect(await run(folder, 'inspect', 'here', '--deep', '--owner-key', keyFile)).toMatchObject({ code: 0 });
  expect(JSON.parse((await download()).out)).toMatchObject({ fetched: [] });
});

test('a corrupt byte in the store: no file of that name, and the object is named', async () => {
  const [, object] = place.manifest.objects;
  const name = `${place.prefix}/${object?.name}`;
  const stored = await place.datasets.get(name);
  const { bytes, metadata } = stored ?? { bytes: new Uint8Array(), metadata: {} };
  await place.datasets.put(
    name,
    bytes.map((byte, i) => (i === 1000 ? byte ^ 1 : byte)),
    { metadata },
  );
  expect(await download()).toMatchObject({
    code: 7,
    out: expect.stringContaining(`${object?.name}: region 0 is altered`),
  });
  const left = await listing(join(folder, 'here'));
  expect(left).not.toContain(object?.name);
  expect(left).not.toContain('manifest.dsse.json');
  await place.datasets.put(name, bytes, { metadata });
  expect(JSON.parse((await download()).out).fetched).not.toContain(place.manifest.objects[0]?.name);
  expect(await listing(join(folder, 'here'))).toEqual(whole());
});

test('a corrupt byte on this disk is fetched again', async () => {
  expect(await download()).toMatchObject({ code: 0 });
  const name = place.manifest.objects[0]?.name ?? '';
  const path = join(folder, 'here', name);
  await writeFile(
    path,
    (await readFile(path)).map((byte, i) => (i === 1000 ? byte ^ 1 : byte)),
  );
  expect(JSON.parse((await download()).out)).toMatchObject({ fetched: [name] });
});

test.each<[string, () => Promise<readonly string[]>, number, string]>([
  ['without a key file', async () => ['--owner-key', 'absent.json'], 2, 'no key file at absent.json'],
  [
    'with somebody else’s key',
    async () => {
      await mkdir(join(folder, 'other'));
      await run(join(folder, 'other'), 'init');
      return ['--owner-key', 'other/ctrain-key.json'];
    },
    8,
    'manifest.dsse.json',
  ],
])('%s nothing is fetched', async (_, flags, code, message) => {
  expect(await download(...(await flags()))).toMatchObject({ code, out: expect.stringContaining(message) });
  expect(await listing(folder)).not.toContain('here');
});

test('a missing keys.json leaves a folder that nobody takes for whole, and a rerun finishes it', async () => {
  const name = `${place.prefix}/keys.json`;
  const { bytes = new Uint8Array() } = (await place.datasets.get(name)) ?? {};
  await place.datasets.delete(name);
  expect(await download()).toMatchObject({ code: 2, out: expect.stringContaining('there is no keys.json') });
  expect(await listing(join(folder, 'here'))).not.toContain('manifest.dsse.json');
  await place.datasets.put(name, bytes);
  expect(JSON.parse((await download()).out)).toMatchObject({ fetched: [] });
  expect(await listing(join(folder, 'here'))).toEqual(whole());
});

test.each([0.2, 0.5, 0.8])('kill -9 at %f of it: the same command fetches what is missing', async (part) => {
  await killAt(part, requestsOfOne, command());
  const ended = await download();
  expect(ended).toMatchObject({ code: 0 });
  expect(JSON.parse(ended.out).fetched.length).toBeLessThan(place.manifest.objects.length);
  expect(await listing(join(folder, 'here'))).toEqual(whole());
  expect(await run(folder, 'inspect', 'here', '--deep', '--owner-key', keyFile)).toMatchObject({ code: 0 });
});

test('kill -9 at five instants of an upload: the same command finishes it, the manifest last', async () => {
  const upload = (...more: readonly string[]) => ['upload', '-i', 'here', '--json', ...more, ...uploadFlags()];
  expect(await download()).toMatchObject({ code: 0 });
  const empty = async () => {
    const names: string[] = [];
    for await (const { name } of place.datasets.list(`${place.prefix}/`)) names.push(name);
    for (const name of names) await place.datasets.delete(name);
  };
  await empty();
  const first = place.emulator.requests.length;
  expect(await run(folder, ...upload())).toMatchObject({ code: 0 });
  const requests = place.emulator.requests.length - first;
  for (const part of [0.1, 0.3, 0.5, 0.7, 0.9]) {
    await empty();
    await killAt(part, requests, upload());
    expect(await place.datasets.properties(`${place.prefix}/manifest.dsse.json`)).toBeUndefined();
    const ended = await run(folder, ...upload());
    expect(ended).toMatchObject({ code: 0 });
    expect(await run(folder, 'inspect', place.prefix, '--deep', ...uploadFlags())).toMatchObject({ code: 0 });
  }
});
