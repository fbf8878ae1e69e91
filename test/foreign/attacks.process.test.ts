import { type KeyObject, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { type Emulator, startEmulator } from '../../emulator/start.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { concat, sha256, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson } from '../../runtime/crypto/encryption-data.ts';
import { wrapCek } from '../../runtime/crypto/key-wrap.ts';
import { generateCek, sealBytes, sealedRange } from '../../runtime/crypto/sealed-object.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { KEYS_FILE, MANIFEST_FILE } from '../../runtime/data/sealed-folder.ts';
import { serialiseKeySlots, slotOf } from '../../runtime/keys/slots.ts';
import { openDatasets } from '../../runtime/open-datasets.ts';
import { serialiseEnvelope, statementDigest } from '../../runtime/statements/dsse.ts';
import { bindObject, type Manifest, signManifest } from '../../runtime/statements/manifest.ts';
import { describeSealed } from '../../runtime/statements/sealed-description.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { KEY_ID, makeKeys, type TestKeys } from '../runtime/data/dataset.ts';
import { hasSdk, type Sdk, type SdkRequest, startSdk } from './python-sdk.ts';

const REGION = 64;
const NAME = 'train.enc';
const OBJECT = `ds/${NAME}`;
const CONFIG = parseTrainingConfig({ training: { input_size: 2, hidden_size: 2, output_size: 2, epochs: 1 } });

interface Blob {
  readonly bytes: Uint8Array;
  readonly json?: string;
}

/** Everything below the folder of a dataset, as whoever runs the storage account could leave it. */
type Folder = Readonly<Record<string, Blob>>;

interface Version {
  readonly folder: Folder;
  readonly manifestDigest: string;
  readonly plaintext: Uint8Array;
  /** Of the object. */
  readonly blob: Blob;
}

/** One version of a dataset of one object of five regions, the last one short. */
async function seal(keys: TestKeys, version: number, signer: KeyObject, ownerId: string): Promise<Version> {
  const plaintext = Uint8Array.from(randomBytes(300));
  const cek = generateCek();
  const sealed = await sealBytes(plaintext, cek, REGION);
  const description = describeSealed(NAME, sealed);
  const manifest: Manifest = {
    ownerId,
    dataset: 'flowers',
    version,
    schema: {
      columns: ['width', 'height'],
      featureCount: 2,
      dtype: 'float32',
      label: 'class',
      classes: ['red', 'green'],
      normalisation: { kind: 'none' },
    },
    objects: [{ ...description, split: 'train', rows: 1, keyBinding: bindObject(cek, ownerId, description) }],
  };
  const envelope = signManifest(manifest, signer);
  const encryptedKey = wrapCek(cek, keys.kek);
  const json = encryptionDataJson({ keyId: KEY_ID, encryptedKey, protocol: '2.0', regionLength: REGION });
  const blob = { bytes: sealed.sealed, json };
  const slots = { version: 1, objects: { [NAME]: [slotOf(KEY_ID, encryptedKey)] } } as const;
  return {
    folder: {
      [NAME]: blob,
      [`${NAME}.leaves`]: { bytes: sealed.leaves },
      [KEYS_FILE]: { bytes: serialiseKeySlots(slots) },
      [MANIFEST_FILE]: { bytes: serialiseEnvelope(envelope) },
    },
    manifestDigest: statementDigest(envelope),
    plaintext,
    blob,
  };
}

interface Attack {
  readonly what: string;
  readonly change: () => Folder;
  /** What the SDK makes of it: other rows and no error, or a refusal. */
  readonly sdk: 'accepted' | 'refused';
  readonly asking?: Partial<Extract<SdkRequest, { do: 'read' }>>;
  readonly code: string;
  readonly message: string;
}

describe.skipIf(!hasSdk())('what the format alone lets through', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ctrain-attacks-test-'));
  let emulator: Emulator;
  let store: BlobStore;
  let sdk: Sdk;
  const keys = makeKeys();
  const stranger = makeKeys();
  let good: Version;
  let older: Version;
  /** Made with nothing but the owner's public key: by a stranger, under the owner's name and under its own. */
  let forged: Version;

  beforeAll(async () => {
    const bundle = join(directory, 'bundle.tar');
    writeFileSync(bundle, 'no bundle: no machine is started here');
    emulator = await startEmulator({ stateDir: join(directory, 'state'), bundle, rootKeyBits: 2048 });
    const { deployment, network } = emulator;
    const blobs = deployment.storage.blobEndpoint;
    store = blobStore(network, managedIdentity(network, OPERATOR_CLIENT_ID), blobs, 'datasets');
    const pem = keys.kek.export({ type: 'pkcs8', format: 'pem' }).toString();
    sdk = startSdk({ blobs, container: 'datasets', keyId: KEY_ID, pem }, join(directory, 'state', 'operator.env'));
    older = await seal(keys, 1, keys.owner, keys.ownerId);
    good = await seal(keys, 2, keys.owner, keys.ownerId);
    forged = await seal(keys, 2, stranger.owner, stranger.ownerId);
  }, 120_000);
  afterAll(async () => {
    await sdk?.stop();
    await emulator?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const leave = async (folder: Folder): Promise<void> => {
    for (const [name, { bytes, json }] of Object.entries(folder)) {
      await store.put(`ds/${name}`, bytes, json === undefined ? {} : { metadata: { [ENCRYPTION_DATA]: json } });
    }
  };
  /** What a trainer does that was released this key under an agreement about this manifest. */
  const open = async (): Promise<Uint8Array> => {
    const [, , vaultHost = '', , keyName = '', keyVersion = ''] = KEY_ID.split('/');
    const owner = {
      ownerId: keys.ownerId,
      name: 'owner',
      signingKey: keys.ownerJwk,
      annexKey: keys.escrowJwk,
      vaultHost,
      keyName,
      keyVersion,
      key: keys.kekJwk,
      attestationAuthority: 'https://owner.weu.attest.azure.net',
      releasePolicySha256: '0'.repeat(64),
      datasets: [{ dataset: 'flowers', version: 2, manifestDigest: good.manifestDigest, prefix: 'ds' }],
    };
    const released = { owner, key: keys.kek, reply: '', replySha256: '', nonceEchoed: true };
    return (await openDatasets(store, [released], CONFIG)).open('train', 0);
  };
  const body = (bytes: Uint8Array): Folder => ({ [NAME]: { ...good.blob, bytes } });
  const region = (index: number): Uint8Array => {
    const { offset, length } = sealedRange(
      { plaintextSize: 300, ciphertextSize: good.blob.bytes.length, regionLength: REGION, regionCount: 5 },
      index,
    );
    return good.blob.bytes.subarray(offset, offset + length);
  };
  const regions = (...order: number[]) => body(concat(...order.map(region)));
  const relabelled = (from: string, to: string) => ({
    [NAME]: { ...good.blob, json: (good.blob.json ?? '').replace(from, to) },
  });

  test('what nobody touched is read by both', async () => {
    await leave(good.folder);
    const answer = await sdk.ask({ do: 'read', blob: OBJECT });
    expect(answer).toEqual({ size: 300, sha256: toHex(sha256(good.plaintext)) });
    expect(await open()).toEqual(good.plaintext);
  });

  const REJECTED = 'CIPHERTEXT_REJECTED';
  const SIZE = /** 300 bytes in 5 regions */ 440;
  const METADATA = 'train.enc: its encryptiondata is not what keys.json says';
  const BINDING = 'train.enc: its key is not the one that its owner bound to it';
  const ATTACKS: readonly Attack[] = [
    {
      what: 'the last region is dropped',
      change: () => regions(0, 1, 2, 3),
      sdk: 'accepted',
      code: REJECTED,
      message: `found 368 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'the last three are',
      change: () => regions(0, 1),
      sdk: 'accepted',
      code: REJECTED,
      message: `found 184 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'the body is empty',
      change: () => body(new Uint8Array()),
      sdk: 'accepted',
      code: REJECTED,
      message: `found 0 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'another good object stands in its place',
      change: () => ({ [NAME]: older.blob }),
      sdk: 'accepted',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: 'another good object, with its keys and leaves',
      change: () => ({ ...older.folder, [MANIFEST_FILE]: good.folder[MANIFEST_FILE] ?? good.blob }),
      sdk: 'accepted',
      code: REJECTED,
      message: BINDING,
    },
    {
      what: 'the whole older version is back',
      change: () => older.folder,
      sdk: 'accepted',
      code: 'CONSENT_MISSING',
      message: 'found flowers version 1',
    },
    {
      what: 'a stranger seals rows of its own to the public key',
      change: () => ({ [NAME]: forged.blob }),
      sdk: 'accepted',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: 'a stranger also replaces keys and leaves',
      change: () => ({ ...forged.folder, [MANIFEST_FILE]: good.folder[MANIFEST_FILE] ?? good.blob }),
      sdk: 'accepted',
      code: REJECTED,
      message: BINDING,
    },
    {
      what: 'a stranger also signs a manifest',
      change: () => forged.folder,
      sdk: 'accepted',
      code: 'CONSENT_MISSING',
      message: 'no valid signature of key',
    },
    {
      what: 'the metadata is stripped, and the SDK is not told to require encryption',
      change: () => ({ [NAME]: { bytes: good.blob.bytes } }),
      asking: { required: false },
      sdk: 'accepted',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: 'two regions change places, before an SDK of 2025',
      change: () => regions(1, 0, 2, 3, 4),
      asking: { misordered: true },
      sdk: 'accepted',
      code: REJECTED,
      message: 'is altered, or sealed under another key',
    },
    {
      what: 'one region stands for another, before an SDK of 2025',
      change: () => regions(0, 1, 1, 3, 4),
      asking: { misordered: true },
      sdk: 'accepted',
      code: REJECTED,
      message: 'train.enc: region 2 is altered',
    },
    {
      what: 'the first region is dropped, before an SDK of 2025',
      change: () => regions(1, 2, 3, 4),
      asking: { misordered: true },
      sdk: 'accepted',
      code: REJECTED,
      message: `found 348 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'two regions change places',
      change: () => regions(1, 0, 2, 3, 4),
      sdk: 'refused',
      code: REJECTED,
      message: 'is altered, or sealed under another key',
    },
    {
      what: 'one region stands for another',
      change: () => regions(0, 1, 1, 3, 4),
      sdk: 'refused',
      code: REJECTED,
      message: 'train.enc: region 2 is altered',
    },
    {
      what: 'the first region is dropped',
      change: () => regions(1, 2, 3, 4),
      sdk: 'refused',
      code: REJECTED,
      message: `found 348 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'a region is cut',
      change: () => body(good.blob.bytes.subarray(0, 400)),
      sdk: 'refused',
      code: REJECTED,
      message: `found 400 sealed bytes, wanted ${SIZE}`,
    },
    {
      what: 'the body is of another object',
      change: () => body(older.blob.bytes),
      sdk: 'refused',
      code: REJECTED,
      message: 'is altered, or sealed under another key',
    },
    {
      what: 'the metadata is stripped',
      change: () => ({ [NAME]: { bytes: good.blob.bytes } }),
      sdk: 'refused',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: '2.0 is called 2.1',
      change: () => relabelled('"Protocol":"2.0"', '"Protocol":"2.1"'),
      sdk: 'refused',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: '2.0 is called 1.0',
      change: () => relabelled('"Protocol":"2.0"', '"Protocol":"1.0"'),
      sdk: 'refused',
      code: 'EVIDENCE_MALFORMED',
      message: 'EncryptionAgent.Protocol',
    },
    {
      what: 'regions are said to be shorter',
      change: () => relabelled('"DataLength":64', '"DataLength":32'),
      sdk: 'refused',
      code: REJECTED,
      message: METADATA,
    },
    {
      what: 'the leaf hashes are of another object',
      change: () => ({
        [`${NAME}.leaves`]: older.folder[`${NAME}.leaves`] ?? good.blob,
        [NAME]: body(concat(utf8(' '), good.blob.bytes.subarray(1)))[NAME] ?? good.blob,
      }),
      sdk: 'refused',
      code: REJECTED,
      message: 'its leaf hashes do not add up to the signed root',
    },
  ];

  test.each(ATTACKS)(
    '$what: the SDK: $sdk, our reader: refused',
    async ({ change, asking, sdk: verdict, code, message }) => {
      await leave({ ...good.folder, ...change() });
      const answer = await sdk.ask({ do: 'read', blob: OBJECT, ...asking });
      if (verdict === 'refused') expect(answer).toHaveProperty('refused');
      else {
        expect(answer).toHaveProperty('sha256');
        expect(answer).not.toHaveProperty('sha256', toHex(sha256(good.plaintext)));
      }
      await expect(open()).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    },
  );
});
