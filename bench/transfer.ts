import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OPERATOR_CLIENT_ID } from '../emulator/provision.ts';
import { startEmulator } from '../emulator/start.ts';
import { blobStore } from '../runtime/azure/blob-store.ts';
import { managedIdentity } from '../runtime/azure/identity.ts';
import { fromBase64 } from '../runtime/crypto/bytes.ts';
import { ecPublicJwk, rsaPublicJwk, thumbprint } from '../runtime/crypto/jwk.ts';
import { unwrapCek, wrapCek } from '../runtime/crypto/key-wrap.ts';
import { generateCek, sealedRange } from '../runtime/crypto/sealed-object.ts';
import type { BlobStore } from '../runtime/data/blob-store.ts';
import { openShard } from '../runtime/data/open-shard.ts';
import { rotateDataset } from '../runtime/data/rotate-dataset.ts';
import { type SealResult, sealDataset } from '../runtime/data/seal-dataset.ts';
import { uploadDataset } from '../runtime/data/upload-dataset.ts';
import { localEscrow } from '../runtime/keys/escrow.ts';
import { parseKeySlots, thumbprintKeyId } from '../runtime/keys/slots.ts';
import { type Measure, medianTimes } from './measure.ts';
import { BENCH_KEY_ID, benchKeys, sealingOf, writePreparedRows } from './prepared.ts';

/** Some 50 MB in objects of 6 MB. */
const ROWS = 60_000;
const ROUNDS = 3;
/** Objects whose keys are rotated, a row each. */
const OBJECTS = { quick: 300, whole: 10_000 };

/**
 * `upload` and `read`: a dataset with its checks before, and every shard opened, against the same objects sent and the same ranges
 * fetched by the same client, to and from Azurite; `upload-verified` also reads back, against both. `rotate`: objects whose key is unwrapped with a local escrow key
 * and wrapped to a new one, in Azurite, against the RSA alone.
 * @param whole rotates 10,000 objects, which takes minutes; else 300
 */
export async function benchTransfer({ whole = false } = {}): Promise<Measure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-bench-transfer-'));
  try {
    const emulator = await startEmulator({ stateDir: join(folder, 'emulator'), rootKeyBits: 2048 });
    try {
      const credential = managedIdentity(emulator.network, OPERATOR_CLIENT_ID);
      const { blobEndpoint } = emulator.deployment.storage;
      const store = blobStore(emulator.network, credential, blobEndpoint, 'datasets');
      const measures = await transfers(folder, store);
      return [...measures, await rotation(folder, store, whole ? OBJECTS.whole : OBJECTS.quick)];
    } finally {
      await emulator.stop();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function sealRows(folder: string, name: string, rows: number, rowsPerShard?: number) {
  const input = join(folder, `${name}-processed`);
  const output = join(folder, `${name}-encrypted`);
  const keys = benchKeys();
  await mkdir(input, { recursive: true });
  await writePreparedRows(input, rows);
  const shards = rowsPerShard === undefined ? {} : { rowsPerShard };
  const result = await sealDataset({ ...sealingOf(input, output, keys), ...shards, dataset: name, jobs: 1 });
  return { output, keys, result };
}

async function transfers(folder: string, store: BlobStore): Promise<Measure[]> {
  const { output, keys, result } = await sealRows(folder, 'moved', ROWS);
  const { objects } = result.manifest;
  const bytes = objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0);
  const ownerKey = ecPublicJwk(keys.owner);
  const { prefix } = await uploadDataset({ folder: output, store, ownerKey });
  const ceks = openCeks(result, await slotsOf(store, prefix), keys.escrow);
  let round = 0;
  const times = await medianTimes(
    {
      plainUpload: async () => {
        for (const { name } of objects) await store.putFile(`plain-${round}/${name}`, join(output, name));
      },
      upload: () => uploadDataset({ folder: output, store, ownerKey, prefix: `bench/${round}`, verify: false }),
      uploadVerified: () => uploadDataset({ folder: output, store, ownerKey, prefix: `verified/${round++}` }),
      plainRead: async () => {
        for (const object of objects) {
          const ranges = Array.from({ length: object.regionCount }, (_, index) => sealedRange(object, index));
          await Promise.all(
            ranges.map(({ offset, length }) => store.getRange(`${prefix}/${object.name}`, offset, length)),
          );
        }
      },
      read: async () => {
        for (const [i, object] of objects.entries()) {
          await openShard(store, prefix, object, ceks[i] ?? generateCek());
        }
      },
    },
    ROUNDS,
  );
  const rate = (name: string, milliseconds: number, plain: number): Measure => {
    const [value, baseline] = [bytes / 1000 / milliseconds, bytes / 1000 / plain];
    return { name, value, unit: 'MB/s', baseline, ratio: value / baseline, method: 'Azurite' };
  };
  return [
    rate('upload', times.upload, times.plainUpload),
    rate('upload-verified', times.uploadVerified, times.plainUpload + times.plainRead),
    rate('read', times.read, times.plainRead),
  ];
}

async function slotsOf(store: BlobStore, prefix: string) {
  const keys = await store.get(`${prefix}/keys.json`);
  if (keys === undefined) throw new Error(`no keys.json in ${prefix}`);
  return parseKeySlots(keys.bytes).objects;
}

type Escrow = ReturnType<typeof benchKeys>['escrow'];

function openCeks({ manifest }: SealResult, slots: Awaited<ReturnType<typeof slotsOf>>, escrow: Escrow) {
  const id = thumbprintKeyId(thumbprint(rsaPublicJwk(escrow)));
  return manifest.objects.map(({ name }) => {
    const slot = slots[name]?.find(({ keyId }) => keyId === id);
    return unwrapCek(fromBase64(slot?.encryptedKey ?? '', name), escrow, { name });
  });
}

async function rotation(folder: string, store: BlobStore, count: number): Promise<Measure> {
  const { output, keys } = await sealRows(folder, 'rotated', count, 1);
  const ownerKey = ecPublicJwk(keys.owner);
  const { prefix } = await uploadDataset({ folder: output, store, ownerKey, verify: false });
  const next = generateKeyPairSync('rsa', { modulusLength: 3072 });
  const to = { keyId: BENCH_KEY_ID.replace(/0{32}$/, '1'.repeat(32)), jwk: rsaPublicJwk(next.privateKey) };
  const wrapped = wrapCek(generateCek(), keys.escrow);
  const begun = process.cpuUsage();
  for (let i = 0; i < count; i++) wrapCek(unwrapCek(wrapped, keys.escrow, { name: 'bench' }), next.publicKey);
  const alone = cpuSeconds(begun);
  const cpu = process.cpuUsage();
  const { rewrapped } = await rotateDataset({ store, prefix, ownerKey, escrowKeys: [localEscrow(keys.escrow)], to });
  const [value, baseline] = [rewrapped / cpuSeconds(cpu), count / alone];
  const method = `${rewrapped} objects, Azurite's proxy in the same process`;
  return { name: 'rotate', value, unit: 'objects/s and core', baseline, ratio: value / baseline, method };
}

function cpuSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}
