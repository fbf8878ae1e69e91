import { execFile } from 'node:child_process';
import { createCipheriv, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { type Emulator, startEmulator } from '../../emulator/start.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { concat, sha256, toHex, uintBe } from '../../runtime/crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson, parseEncryptionData } from '../../runtime/crypto/encryption-data.ts';
import { rsaPublicJwk, thumbprint } from '../../runtime/crypto/jwk.ts';
import { unwrapCek, wrapCek } from '../../runtime/crypto/key-wrap.ts';
import { leafHash, merkleRoot } from '../../runtime/crypto/merkle.ts';
import {
  generateCek,
  type NonceScheme,
  openBytes,
  REGION_LENGTH,
  sealBytes,
  sealedRange,
  sealedShape,
} from '../../runtime/crypto/sealed-object.ts';
import { encodeShard } from '../../runtime/data/arrow-shard.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { openShard } from '../../runtime/data/open-shard.ts';
import { parseKeySlots, thumbprintKeyId } from '../../runtime/keys/slots.ts';
import { verifyManifest } from '../../runtime/statements/manifest.ts';
import { createLocalKeys, type LocalKeys } from '../../scripts/local-keys.ts';
import { run } from '../e2e/cli-process.ts';
import { hasSdk, PYTHON, type Sdk, startSdk } from './python-sdk.ts';

const KEY_ID = `https://kv-owner.vault.azure.net/keys/training-key/${'0'.repeat(32)}`;
const SIZES = [0, 1, REGION_LENGTH - 1, REGION_LENGTH, REGION_LENGTH + 1];
const BUNDLE = 'no bundle: no machine is started here';

/** What the Java and .NET SDKs write: the same regions under nonces of their own. */
function sealAs(scheme: NonceScheme, plaintext: Uint8Array, cek: KeyObject, regionLength: number): Uint8Array {
  const nonces: Record<NonceScheme, (index: number) => Uint8Array> = {
    'big-endian': (index) => concat(new Uint8Array(4), uintBe(index, 8)),
    java: (index) => concat(uintBe(index, 8), new Uint8Array(4)),
    dotnet: (index) => concat(new Uint8Array(4), uintBe(index + 1, 8).reverse()),
  };
  const regions: Uint8Array[] = [];
  for (let at = 0; at < plaintext.length; at += regionLength) {
    const nonce = nonces[scheme](at / regionLength);
    const cipher = createCipheriv('aes-256-gcm', cek, nonce, { authTagLength: 16 });
    regions.push(nonce, cipher.update(plaintext.subarray(at, at + regionLength)), cipher.final(), cipher.getAuthTag());
  }
  return concat(...regions);
}

function leavesOf(sealed: Uint8Array, plaintextSize: number, regionLength: number): Uint8Array {
  const shape = sealedShape(plaintextSize, regionLength);
  const leaves = Array.from({ length: shape.regionCount }, (_, index) => {
    const { offset, length } = sealedRange(shape, index);
    return leafHash(index, sealed.subarray(offset, offset + length));
  });
  return concat(...leaves);
}

describe.skipIf(!hasSdk())('client-side encryption of the Azure SDK for Python', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ctrain-cse-test-'));
  const environment = join(directory, 'state', 'operator.env');
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  let emulator: Emulator;
  let store: BlobStore;
  let sdk: Sdk;

  beforeAll(async () => {
    const bundle = join(directory, 'bundle.tar');
    writeFileSync(bundle, BUNDLE);
    emulator = await startEmulator({ stateDir: join(directory, 'state'), bundle, rootKeyBits: 2048 });
    const { deployment, network } = emulator;
    const blobs = deployment.storage.blobEndpoint;
    store = blobStore(network, managedIdentity(network, OPERATOR_CLIENT_ID), blobs, 'datasets');
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    sdk = startSdk({ blobs, container: 'datasets', keyId: KEY_ID, pem }, environment);
  }, 120_000);
  afterAll(async () => {
    await sdk?.stop();
    await emulator?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const put = (name: string, sealed: Uint8Array, cek: KeyObject, regionLength: number) => {
    const encryptedKey = wrapCek(cek, key);
    const json = encryptionDataJson({ keyId: KEY_ID, encryptedKey, protocol: '2.0', regionLength });
    return store.put(name, sealed, { metadata: { [ENCRYPTION_DATA]: json } });
  };
  const contentOf = (bytes: Uint8Array) => ({ size: bytes.length, sha256: toHex(sha256(bytes)) });

  test.each(SIZES)('reads what we seal: %i bytes, whole and by range', async (size) => {
    const plaintext = Uint8Array.from(randomBytes(size));
    const cek = generateCek();
    const name = `ours-${size}`;
    await put(name, (await sealBytes(plaintext, cek)).sealed, cek, REGION_LENGTH);
    expect(await sdk.ask({ do: 'read', blob: name })).toEqual(contentOf(plaintext));
    const ranges = [
      [0, 1],
      [size - 2, 2],
      [REGION_LENGTH - 1, 2],
      [1000, REGION_LENGTH],
    ] as const;
    for (const [offset, length] of ranges.filter(([from]) => from >= 0 && from < size)) {
      const part = plaintext.subarray(offset, offset + length);
      expect(await sdk.ask({ do: 'read', blob: name, offset, length })).toEqual(contentOf(part));
    }
  });

  test.each(SIZES)('writes what we read: %i bytes', async (size) => {
    const plaintext = Uint8Array.from(randomBytes(size));
    const path = join(directory, 'plaintext');
    writeFileSync(path, plaintext);
    const name = `theirs-${size}`;
    expect(await sdk.ask({ do: 'write', blob: name, path })).toEqual({});
    const blob = await store.get(name);
    const data = parseEncryptionData(blob?.metadata[ENCRYPTION_DATA] ?? '');
    expect(data).toMatchObject({ keyId: KEY_ID, protocol: '2.0', regionLength: REGION_LENGTH });
    const cek = unwrapCek(data.encryptedKey, key);
    const sealed = blob?.bytes ?? new Uint8Array();
    const leaves = leavesOf(sealed, size, REGION_LENGTH);
    const expected = { merkleRoot: merkleRoot(leaves), shape: sealedShape(size) };
    expect(toHex(sha256(openBytes(sealed, cek, expected)))).toBe(contentOf(plaintext).sha256);
    // Byte for byte what we would have written with that key.
    expect(toHex(sha256(sealed))).toBe(toHex(sha256((await sealBytes(plaintext, cek)).sealed)));
  });

  test.each(['big-endian', 'java', 'dotnet'] as const)(
    'both read regions numbered in the way of %s',
    async (nonceScheme) => {
      const plaintext = Uint8Array.from(randomBytes(1000));
      const cek = generateCek();
      const sealed = sealAs(nonceScheme, plaintext, cek, 256);
      await put(nonceScheme, sealed, cek, 256);
      expect(await sdk.ask({ do: 'read', blob: nonceScheme })).toEqual(contentOf(plaintext));
      const expected = { merkleRoot: merkleRoot(leavesOf(sealed, 1000, 256)), shape: sealedShape(1000, 256) };
      expect(openBytes(sealed, cek, { ...expected, nonceScheme })).toEqual(plaintext);
      const other = nonceScheme === 'java' ? 'dotnet' : 'java';
      expect(() => openBytes(sealed, cek, { ...expected, nonceScheme: other })).toThrow(
        'is altered, or sealed under another key',
      );
    },
  );

  describe('the script of docs/python.md', () => {
    const rows = { features: Float32Array.from({ length: 20 }, (_, i) => i / 7), featureCount: 2 };
    const shard = encodeShard(
      { ...rows, labels: Int32Array.from({ length: 10 }, (_, i) => i % 2) },
      { version: 1, split: 'train' },
    );
    let keys: LocalKeys;
    let prefix: string;
    const seal = (version: number, file = 'seal_and_bind.py') => {
      const { owner, storage } = emulator.deployment;
      const url = `${storage.blobEndpoint}/datasets/${keys.ownerId}/flowers/${version}/train.enc`;
      const vault = [`https://${owner.vaultHost}`, owner.keyNames[0] ?? ''];
      const script = [join(directory, file), join(directory, 'train.arrow'), url, ...vault, 'ctrain-key.json'];
      return promisify(execFile)('bash', ['-c', '. "$0" && exec "$@"', environment, PYTHON, ...script], {
        cwd: directory,
      });
    };
    const adopt = (version: number, binding = 'train.enc.binding.json') => {
      const more = ['--dataset-version', `${version}`, '--deployment', emulator.deploymentFile, '--json'];
      return run(directory, 'adopt', '--binding', binding, ...more);
    };

    beforeAll(async () => {
      keys = await createLocalKeys(join(directory, 'ctrain-key.json'), 'owner');
      prefix = `${keys.ownerId}/flowers`;
      const text = await readFile(fileURLToPath(new URL('../../docs/python.md', import.meta.url)), 'utf8');
      const script = /```python\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
      writeFileSync(join(directory, 'seal_and_bind.py'), script);
      // A program that binds under the right name what is not what it seals.
      writeFileSync(
        join(directory, 'forger.py'),
        script.replace('while region := data.read(REGION):', 'while region := data.read(REGION)[:-1]:'),
      );
      writeFileSync(join(directory, 'train.arrow'), shard);
      await mkdir(join(directory, 'processed'));
      const part = { file: 'train.arrow', rows: 10 };
      const schema = {
        columns: ['width', 'height'],
        featureCount: 2,
        dtype: 'float32',
        label: 'class',
        classes: ['red', 'green'],
        normalisation: { kind: 'none' },
      };
      const splits = { train: part, validation: part, test: part };
      writeFileSync(
        join(directory, 'processed', 'dataset.json'),
        JSON.stringify({ version: 1, name: 'flowers', seed: 1, schema, splits }),
      );
    });

    test('seals and binds; what adopt signs is opened like what we seal', async () => {
      writeFileSync(join(directory, 'train.enc.binding.json'), (await seal(1)).stdout);
      const adopted = await adopt(1);
      expect(adopted).toMatchObject({ code: 0, err: '' });
      const signed = await store.get(`${prefix}/1/manifest.dsse.json`);
      const { manifest } = verifyManifest(signed?.bytes ?? new Uint8Array(), keys.signingJwk);
      const [object] = manifest.objects;
      if (object === undefined) throw new Error('the manifest is empty');
      expect(object).toMatchObject({ name: 'train.enc', split: 'train', rows: 10, plaintextSize: shard.length });
      const slots = parseKeySlots((await store.get(`${prefix}/1/keys.json`))?.bytes ?? new Uint8Array());
      const escrow = slots.objects['train.enc']?.find(({ keyId }) => keyId === thumbprintKeyId(thumbprintOf(keys)));
      const cek = unwrapCek(Buffer.from(escrow?.encryptedKey ?? '', 'base64'), keys.decryption);
      expect(await openShard(store, `${prefix}/1`, object, cek)).toEqual(shard);
      expect(await adopt(1)).toMatchObject({
        code: 2,
        out: expect.stringContaining('version 1 of dataset flowers is signed already'),
      });
    });

    test('a binding of other bytes is refused, and so is that of another version of the object', async () => {
      writeFileSync(join(directory, 'forged.json'), (await seal(2, 'forger.py')).stdout);
      expect(await adopt(2, 'forged.json')).toMatchObject({
        code: 7,
        out: expect.stringContaining(`train.enc: found ${shard.length + 28} sealed bytes, wanted ${shard.length + 27}`),
      });
      expect(await adopt(2)).toMatchObject({
        code: 7,
        out: expect.stringContaining('train.enc: its encryptiondata is not that of its binding'),
      });
      expect(await store.get(`${prefix}/2/manifest.dsse.json`)).toBeUndefined();
    });

    test('a binding that was altered is refused', async () => {
      const binding = JSON.parse(await readFile(join(directory, 'train.enc.binding.json'), 'utf8'));
      await seal(3);
      writeFileSync(join(directory, 'altered.json'), JSON.stringify({ ...binding, keyBinding: '0'.repeat(64) }));
      expect(await adopt(3, 'altered.json')).toMatchObject({
        code: 7,
        out: expect.stringContaining('train.enc: its key is not the one that its owner bound to it'),
      });
    });
  });
});

function thumbprintOf({ decryption }: LocalKeys): string {
  return thumbprint(rsaPublicJwk(decryption));
}
