import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { sha256, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../runtime/crypto/jwk.ts';
import type { ReleasedKey } from '../../runtime/environment.ts';
import { openInitialWeights, putInitialWeights } from '../../runtime/initial-weights.ts';
import type { Agreement } from '../../runtime/statements/agreement.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { memoryStore } from './data/memory-store.ts';
import { rejection } from './rejection.ts';

const kek = generateKeyPairSync('rsa', { modulusLength: 2048 });
const owner = {
  vaultHost: 'kv.vault.azure.net',
  keyName: 'training-key',
  keyVersion: '0'.repeat(32),
  key: rsaPublicJwk(kek.publicKey),
};
const WEIGHTS = utf8('weights of a model that is nobody else’s business');
const training = { input_size: 2, hidden_size: 2, output_size: 2 };
const agreeing = (initial_weights?: string) =>
  ({
    configuration: parseTrainingConfig({
      training: { ...training, ...(initial_weights === undefined ? {} : { initial_weights }) },
    }),
    owners: [owner],
  }) as unknown as Agreement;
const agreement = agreeing(toHex(sha256(WEIGHTS)));
const keys = [{ owner, key: kek.privateKey }] as unknown as readonly ReleasedKey[];

test('weights go sealed, and come back to who has the key', async () => {
  const store = memoryStore();
  await putInitialWeights(store, 'run-1', agreement, WEIGHTS);
  expect([...store.blobs.keys()]).toEqual(['run-1/initial-weights.sealed', 'run-1/initial-weights.json']);
  const stored = [...store.blobs.values()].map(({ bytes }) => new TextDecoder('latin1').decode(bytes)).join();
  expect(stored).not.toContain('nobody');
  expect(await openInitialWeights(store, 'run-1', agreement, keys)).toEqual(WEIGHTS);
});

test('none are asked for, none are put', async () => {
  const store = memoryStore();
  await putInitialWeights(store, 'run-1', agreeing(), undefined);
  expect(store.calls).toEqual([]);
  expect(await openInitialWeights(store, 'run-1', agreeing(), keys)).toBeUndefined();
});

test.each([
  ['none where some are agreed on', agreement, undefined, 'found none, the agreement wants the file of digest'],
  ['some where none are agreed on', agreeing(), WEIGHTS, 'the agreement wants none'],
  ['others', agreement, utf8('others'), 'initial weights: found the file of digest'],
])('%s are refused before the run is queued', async (_, agreed, weights, message) => {
  const store = memoryStore();
  await expect(putInitialWeights(store, 'run-1', agreed, weights)).rejects.toThrow(
    rejection('CONFIG_INVALID', message),
  );
  expect(store.calls).toEqual([]);
});

test('whoever writes the folder of a run cannot choose other weights', async () => {
  const store = memoryStore();
  const others = utf8('others');
  await putInitialWeights(store, 'run-1', agreeing(toHex(sha256(others))), others);
  await expect(openInitialWeights(store, 'run-1', agreement, keys)).rejects.toThrow(
    rejection('CIPHERTEXT_REJECTED', 'run-1/initial-weights.sealed: they are not the weights agreed on'),
  );
  await expect(openInitialWeights(store, 'run-2', agreement, keys)).rejects.toThrow(
    rejection('CONFIG_INVALID', 'run-2/initial-weights.json: there is no such blob'),
  );
});
