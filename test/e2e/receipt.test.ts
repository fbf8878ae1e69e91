import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import { type VerifyReceiptOptions, verifyReceipt } from '../../runtime/verify-receipt.ts';
import { newKeys, opened, type Place, startPlace, train } from './place.ts';

let place: Place;
let trust: TrustAnchors;
let good: VerifyReceiptOptions;

beforeAll(async () => {
  place = await startPlace({
    entry: fileURLToPath(new URL('./genuine-entry.ts', import.meta.url)),
    training: { epochs: 1 },
    maxRuns: 3,
  });
  trust = { ...place.emulator.trust, hardware: 'SEV-SNP' };
  const runId = await train(place);
  await opened(place, runId);
  const read = async (name: string) => Uint8Array.from(await readFile(join(place.dir, 'models', runId, name)));
  good = {
    receipt: await read('receipt.dsse.json'),
    agreement: await read('agreement.dsse.json'),
    trust,
    knownOwners: [place.keys.ownerId],
    releaseReplies: JSON.parse(new TextDecoder().decode(await read('release-replies.json'))),
    modelFiles: {
      'model.json': await read('model/model.json'),
      'weights.bin': await read('model/weights.bin'),
      'preprocessing.json': await read('model/preprocessing.json'),
      'scores.json': await read('model/scores.json'),
    },
  };
});
afterAll(() => place?.stop());

const failed = (options: VerifyReceiptOptions) =>
  verifyReceipt(options)
    .checks.filter(({ passed }) => !passed)
    .map(({ name }) => name);

test('AUTHENTIC when the verifier knows the owners, and their vaults said so', () => {
  const { verdict, checks } = verifyReceipt(good);
  expect(checks.filter(({ passed }) => !passed)).toEqual([]);
  expect(verdict).toBe('AUTHENTIC');
});

test.each([
  ['nobody is known', () => ({ knownOwners: [] })],
  ['somebody else is known', () => ({ knownOwners: [newKeys('stranger').ownerId] })],
  ['no vault’s reply is there', () => ({ releaseReplies: {} })],
])('only CONSISTENT when %s', (_, change) => {
  expect(verifyReceipt({ ...good, ...change() }).verdict).toBe('CONSISTENT');
});

const CHANGES: readonly [string, () => Partial<VerifyReceiptOptions>, string][] = [
  [
    "Azure's roots",
    () => ({ trust: AZURE_TRUST }),
    'evidence is genuine and the machine is what the agreement demands',
  ],
  [
    'roots that call it emulated',
    () => ({ trust: place.emulator.trust }),
    'evidence is genuine and the machine is what the agreement demands',
  ],
  ['another agreement', () => ({ agreement: utf8('{}') }), 'agreement is signed by every party and names this trainer'],
  [
    'an altered receipt',
    () => ({ receipt: good.receipt.map((byte, i) => (i === 900 ? byte ^ 1 : byte)) }),
    'receipt is signed by the key it names',
  ],
  [
    'an altered model',
    () => ({ modelFiles: { ...good.modelFiles, 'weights.bin': new Uint8Array(4) } }),
    'model files are those of the receipt',
  ],
  [
    'a reply that is none',
    () => ({ releaseReplies: { [place.keys.ownerId]: 'a.b.c' } }),
    'vault of owner released its key to this run',
  ],
];

test.each(CHANGES)('REJECTED with %s, naming the check', (_, change, check) => {
  const options = { ...good, ...change() };
  expect(verifyReceipt(options).verdict).toBe('REJECTED');
  expect(failed(options)).toContain(check);
});

test("the reply to another run of the same owner is not this run's", async () => {
  const other = await train(place);
  await opened(place, other);
  const replies = JSON.parse(await readFile(join(place.dir, 'models', other, 'release-replies.json'), 'utf8'));
  const options = { ...good, releaseReplies: replies };
  expect(verifyReceipt(options).verdict).toBe('REJECTED');
  expect(failed(options)).toEqual(['vault of owner released its key to this run']);
});

test('an agreement allows as many finished runs as it says', async () => {
  // The place's agreement allows three; two are done.
  await train(place);
  await expect(train(place)).rejects.toMatchObject({
    code: 'CONSENT_MISSING',
    message: expect.stringContaining('used up'),
  });
});
