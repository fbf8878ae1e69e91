import { readdir } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { leavesName } from '../../runtime/data/open-shard.ts';
import { parseKeySlots, serialiseKeySlots, vaultKeyId } from '../../runtime/keys/slots.ts';
import { readBlob } from '../../runtime/queue.ts';
import { sealFile } from '../../runtime/sealed-file.ts';
import { agreementStatement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement, statementDigest } from '../../runtime/statements/dsse.ts';
import { type Manifest, signManifest } from '../../runtime/statements/manifest.ts';
import { readAgreement } from '../../scripts/run/approve.ts';
import { submitRun, watchRun } from '../../scripts/run/submit.ts';
import { leftBehind, newKeys, off, opened, type Place, securityEvents, startPlace, train } from './place.ts';

let place: Place;
/** Blobs as they were before a test changed them. */
const changed: { store: BlobStore; name: string; bytes: Uint8Array; metadata: Readonly<Record<string, string>> }[] = [];

beforeAll(async () => {
  place = await startPlace({ rows: 20_000, training: { epochs: 2, checkpoint_steps: 50 } });
});
afterAll(() => place?.stop());
afterEach(async () => {
  for (const { store, name, bytes, metadata } of changed.splice(0).reverse())
    await store.put(name, bytes, { metadata });
});

/** Replaces a blob's bytes, or its metadata, until the test is over. */
async function alter(
  store: BlobStore,
  name: string,
  change: (
    bytes: Uint8Array,
    metadata: Readonly<Record<string, string>>,
  ) => { bytes?: Uint8Array; metadata?: Record<string, string> },
): Promise<void> {
  const blob = await store.get(name);
  if (blob === undefined) throw new Error(`no blob ${name}`);
  changed.push({ store, name, bytes: blob.bytes, metadata: blob.metadata });
  const { bytes = blob.bytes, metadata = blob.metadata } = change(blob.bytes, blob.metadata);
  await store.put(name, bytes, { metadata });
}

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}

/** Changes one character of base64 text into another one of base64. */
function flipBase64(text: string): string {
  const middle = Math.floor(text.length / 2);
  return `${text.slice(0, middle)}${text[middle] === 'A' ? 'B' : 'A'}${text.slice(middle + 1)}`;
}

const object = (split = 'train', index = 0) => {
  const found = place.manifest.objects.filter((each) => each.split === split)[index];
  if (found === undefined) throw new Error(`no object ${index} of ${split}`);
  return found;
};
const path = (name: string) => `${place.prefix}/${name}`;

async function refusal(agreement = place.agreement): Promise<{ code: string; message: string }> {
  const before = place.emulator.requests.length;
  const error = await train(place, agreement).then(
    (runId) => ({ code: 'ACCEPTED', message: runId }),
    (refused: unknown) => refused as { code: string; message: string },
  );
  const { deployment } = place.context;
  const named = [
    deployment.owner.vaultHost,
    new URL(deployment.owner.attestationAuthority).host,
    new URL(deployment.storage.blobEndpoint).host,
  ];
  const allowed = [...named, 'management.azure.com', '169.254.169.254', new URL(deployment.logs.endpoint).host];
  expect(place.emulator.requests.slice(before).filter(({ host }) => !allowed.includes(host))).toEqual([]);
  const runId = /run-[0-9a-z-]+/.exec(error.message)?.[0] ?? '';
  expect(await leftBehind(place, runId)).toEqual([]);
  return error;
}

const ALTERATIONS: readonly [string, () => Promise<void>, string, () => string][] = [
  [
    'a shard, one byte',
    () => alter(place.datasets, path(object().name), (bytes) => ({ bytes: flip(bytes, 5000) })),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    "a region's nonce, one byte",
    () => alter(place.datasets, path(object().name), (bytes) => ({ bytes: flip(bytes, 11) })),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    'the encryptiondata, one byte',
    () =>
      alter(place.datasets, path(object().name), (_, metadata) => {
        const data = JSON.parse(metadata.encryptiondata ?? '');
        data.WrappedContentKey.EncryptedKey = flipBase64(data.WrappedContentKey.EncryptedKey);
        return { metadata: { ...metadata, encryptiondata: JSON.stringify(data) } };
      }),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    'keys.json, one byte',
    () =>
      alter(place.datasets, path('keys.json'), (bytes) => {
        const slots = parseKeySlots(bytes);
        const own = (slots.objects[object().name] ?? []).map((slot) => ({
          ...slot,
          encryptedKey: flipBase64(slot.encryptedKey),
        }));
        return { bytes: serialiseKeySlots({ version: 1, objects: { ...slots.objects, [object().name]: own } }) };
      }),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    'the leaves, one byte',
    () => alter(place.datasets, path(leavesName(object().name)), (bytes) => ({ bytes: flip(bytes, 3) })),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    'the manifest, one byte',
    () =>
      alter(place.datasets, path('manifest.dsse.json'), (bytes) => {
        const envelope = JSON.parse(new TextDecoder().decode(bytes));
        return { bytes: utf8(JSON.stringify({ ...envelope, payload: flipBase64(envelope.payload) })) };
      }),
    'CONSENT_MISSING',
    () => 'manifest',
  ],
  [
    'the last region, dropped',
    () => alter(place.datasets, path(object().name), (bytes) => ({ bytes: bytes.slice(0, -100) })),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
  [
    'two objects, swapped',
    async () => {
      const [a, b] = [object('train', 0), object('train', 1)];
      const first = await readBlob(place.datasets, path(a.name));
      const second = await readBlob(place.datasets, path(b.name));
      await alter(place.datasets, path(a.name), () => ({ bytes: second }));
      await alter(place.datasets, path(b.name), () => ({ bytes: first }));
    },
    'CIPHERTEXT_REJECTED',
    () => 'train',
  ],
  [
    'an older manifest of the same owner',
    () =>
      alter(place.datasets, path('manifest.dsse.json'), () => ({
        bytes: serialiseEnvelope(
          signManifest({ ...place.manifest, version: 7, objects: place.manifest.objects.slice(1) }, place.keys.signing),
        ),
      })),
    'CONSENT_MISSING',
    () => 'manifest',
  ],
  [
    'a key slot that names another vault',
    () =>
      alter(place.datasets, path('keys.json'), (bytes) => {
        const slots = parseKeySlots(bytes);
        const own = (slots.objects[object().name] ?? []).map((slot) => ({
          ...slot,
          keyId: slot.keyId.replace(/kv-owner-[0-9a-f]+/, 'kv-stranger'),
        }));
        return { bytes: serialiseKeySlots({ version: 1, objects: { ...slots.objects, [object().name]: own } }) };
      }),
    'CIPHERTEXT_REJECTED',
    () => object().name,
  ],
];

test.each(ALTERATIONS)('%s: refused, naming the object, nothing left behind', async (_, change, code, name) => {
  await change();
  const error = await refusal();
  expect(error).toMatchObject({ code, message: expect.stringContaining(name()) });
});

test('an altered agreement is refused by the trainer, whatever the command line thought of it', async () => {
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  const envelope = JSON.parse(new TextDecoder().decode(place.agreement));
  await place.runs.put(
    `${runId}/agreement.dsse.json`,
    utf8(JSON.stringify({ ...envelope, payload: flipBase64(envelope.payload) })),
  );
  const error = await watchRun(place.context, runId, () => undefined).catch(
    (refused: unknown) => refused as { code: string },
  );
  await off(place);
  expect(['CONSENT_MISSING', 'EVIDENCE_MALFORMED']).toContain((error as { code: string }).code);
  expect(await leftBehind(place, runId)).toEqual([]);
});

test("a stranger who signs somebody else's ciphertext as their own trains on nothing", async () => {
  const stranger = newKeys('stranger');
  const prefix = `${stranger.ownerId}/${place.manifest.dataset}/1`;
  for (const { name } of place.manifest.objects) {
    const blob = await place.datasets.get(path(name));
    await place.datasets.put(`${prefix}/${name}`, blob?.bytes ?? new Uint8Array(), { metadata: blob?.metadata ?? {} });
    await place.datasets.put(`${prefix}/${leavesName(name)}`, await readBlob(place.datasets, path(leavesName(name))));
  }
  await place.datasets.put(`${prefix}/keys.json`, await readBlob(place.datasets, path('keys.json')));
  const manifest: Manifest = { ...place.manifest, ownerId: stranger.ownerId, version: 1 };
  const signed = signManifest(manifest, stranger.signing);
  await place.datasets.put(`${prefix}/manifest.dsse.json`, serialiseEnvelope(signed));
  const own = readAgreement(place.agreement);
  const party = { ownerId: stranger.ownerId, name: 'stranger', signingKey: stranger.signingJwk };
  const theirs = {
    ...own,
    owners: own.owners.map((owner) => ({
      ...owner,
      ...party,
      annexKey: stranger.recipientJwk,
      datasets: [{ dataset: manifest.dataset, version: 1, manifestDigest: statementDigest(signed), prefix }],
    })),
    modelOwner: party,
    recipients: { model: [{ name: 'stranger', key: stranger.recipientJwk }], checkpoints: [] },
  };
  const agreement = serialiseEnvelope(signStatement(agreementStatement(theirs), [stranger.signing]));
  expect(await refusal(agreement)).toMatchObject({ code: 'CIPHERTEXT_REJECTED' });
});

test('a checkpoint that was altered, or that a stranger sealed, is not resumed from', async () => {
  const { runId, checkpoint } = await interruptedRun();
  await alter(place.runs, checkpoint.object.name, (bytes) => ({ bytes: flip(bytes, 100) }));
  expect(await refusal()).toMatchObject({
    code: 'CIPHERTEXT_REJECTED',
    message: expect.stringContaining(checkpoint.object.name),
  });

  expect(await securityEvents(place)).toContainEqual(
    expect.objectContaining({ RunId: runId, Event: 'checkpoint.opened', Outcome: 'failure' }),
  );

  const second = await interruptedRun();
  expect(second.runId).not.toBe(runId);
  const owner = readAgreement(place.agreement).owners[0];
  if (owner === undefined) throw new Error('no owner');
  const forged = await sealFile(second.checkpoint.object.name, utf8('weights of a stranger'), [
    { keyId: vaultKeyId(owner), key: owner.key },
  ]);
  await place.runs.put(forged.object.name, forged.sealed);
  await place.runs.put(
    second.record,
    utf8(JSON.stringify({ ...second.checkpoint, object: forged.object, slots: forged.slots })),
  );
  expect(await refusal()).toMatchObject({
    code: 'CIPHERTEXT_REJECTED',
    message: expect.stringContaining('checkpoints'),
  });
});

interface Interrupted {
  readonly runId: string;
  readonly record: string;
  readonly checkpoint: { readonly object: { readonly name: string } };
}

/** Takes the machine away once a run has left a checkpoint. */
async function interruptedRun(): Promise<Interrupted> {
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  for (;;) {
    for await (const { name } of place.runs.list(`${runId}/checkpoints/`)) {
      if (!name.endsWith('.json')) continue;
      place.emulator.machine.deallocate();
      await off(place);
      // The newest one by now: that is what a resume would take.
      const names: string[] = [];
      for await (const blob of place.runs.list(`${runId}/checkpoints/`)) names.push(blob.name);
      const record = names.filter((each) => each.endsWith('.json')).at(-1) ?? name;
      return { runId, record, checkpoint: JSON.parse(new TextDecoder().decode(await readBlob(place.runs, record))) };
    }
  }
}

test.each([
  ['the model', (runId: string) => `${runId}/model/weights.bin.sealed`],
  ["the model's record", (runId: string) => `${runId}/model/weights.bin.json`],
  ['the receipt', (runId: string) => `${runId}/receipt.dsse.json`],
  ['an annex', (runId: string) => `${runId}/annex/${place.keys.ownerId}.sealed`],
])('%s altered: open-model refuses and writes nothing', async (_, name) => {
  const runId = await train(place);
  await alter(place.runs, name(runId), (bytes) => ({ bytes: flip(bytes, Math.floor(bytes.length / 2)) }));
  const error = await opened(place, runId).catch((refused: unknown) => refused as { code: string });
  expect(['CIPHERTEXT_REJECTED', 'EVIDENCE_MALFORMED']).toContain((error as { code: string }).code);
  expect(await readdir(`${place.dir}/models`).catch(() => [])).toEqual([]);
});

test('untouched, all of it is accepted', async () => {
  const runId = await train(place);
  const { metrics } = await opened(place, runId);
  expect(metrics.test_accuracy).toBeGreaterThan(0.9);
});
