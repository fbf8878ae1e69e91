import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { serialiseEvidence } from '../../runtime/attestation/evidence.ts';
import { STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { sha256, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../../runtime/crypto/jwk.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { runMeasurement } from '../../runtime/run-measurement.ts';
import { type Agreement, agreementStatement } from '../../runtime/statements/agreement.ts';
import { quoteNonce } from '../../runtime/statements/bindings.ts';
import { serialiseEnvelope, signStatement, statementDigest } from '../../runtime/statements/dsse.ts';
import { evidenceDigest, type ReceiptContent, signReceipt } from '../../runtime/statements/receipt.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { verifyReceipt } from '../../runtime/verify-receipt.ts';
import { createMachine, evidenceOf, PCRS } from './attestation/machine.ts';

// Receipts that somebody with a genuine machine of their own could sign: everything in them is theirs to choose.

const TRAINER = 'ab'.repeat(32);
const RUN = 'run-1';
const AGREED = 'manifests, keys, metrics and configuration are those agreed on';
const MODEL = 'model files are those of the receipt';

const { privateKey: signer } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signingKey = ecPublicJwk(signer);
const ownerId = thumbprint(signingKey);
const machine = await createMachine();
const owner: Agreement['owners'][number] = {
  ownerId,
  name: 'hospital',
  signingKey,
  annexKey: machine.ekKey,
  vaultHost: 'kv-owner.vault.azure.net',
  keyName: 'training-key-1',
  keyVersion: '0'.repeat(32),
  key: machine.akKey,
  attestationAuthority: 'https://maowner.neu.attest.azure.net',
  releasePolicySha256: TRAINER,
  datasets: [{ dataset: 'digits', version: 1, manifestDigest: TRAINER, prefix: 'digits/1' }],
};
const agreement: Agreement = {
  name: 'digits',
  purpose: 'train',
  owners: [owner],
  modelOwner: { ownerId, name: 'hospital', signingKey },
  trainers: [TRAINER],
  configuration: parseTrainingConfig({ training: { input_size: 4, hidden_size: 8, output_size: 2 } }),
  environment: STRICT_ENVIRONMENT,
  recipients: { model: [{ name: 'lab', key: machine.ekKey }], checkpoints: [] },
  metrics: ['loss'],
  customCode: false,
  maxRuns: 1,
  notAfter: '2999-01-01T00:00:00Z',
};
const agreed = signStatement(agreementStatement(agreement), [signer]);
const agreementDigest = statementDigest(agreed);
const { privateKey: receiptSigner } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const receiptKey = ecPublicJwk(receiptSigner);
const run = sha256(new Uint8Array(32), runMeasurement(TRAINER, agreementDigest, RUN));
const evidence = {
  ...serialiseEvidence(
    evidenceOf(machine, {
      quote: { nonce: quoteNonce({ agreementDigest, receiptKey, runId: RUN }), pcrs: { ...PCRS, 15: toHex(run) } },
    }),
  ),
};
const now = new Date().toISOString();
const FILES = { 'model.json': utf8('{}'), 'weights.bin': utf8('weights') };
const release = {
  ownerId,
  replySha256: TRAINER,
  nonceEchoed: true,
  vaultHost: owner.vaultHost,
  keyId: vaultKeyId(owner),
};
const content: ReceiptContent = {
  runId: RUN,
  agreementDigest,
  manifests: [{ ownerId, dataset: 'digits', version: 1, digest: TRAINER }],
  trainerSha256: TRAINER,
  configuration: agreement.configuration,
  metrics: { loss: 0.07 },
  model: Object.entries(FILES).map(([name, bytes]) => modelFile(name, bytes)),
  checkpointChainHead: TRAINER,
  eventLogHead: TRAINER,
  evidence,
  evidenceSha256: evidenceDigest(evidence),
  releases: [release],
  confinement: {},
  hygiene: {},
  hardware: 'SEV-SNP',
  engine: { backend: 'wasm', versions: { tfjs: '4.22.0' } },
  startedOn: now,
  finishedOn: now,
  receiptKey,
};

function verify(change: Partial<ReceiptContent>, modelFiles: Readonly<Record<string, Uint8Array>> = FILES) {
  const { verdict, checks } = verifyReceipt({
    receipt: serialiseEnvelope(signReceipt({ ...content, ...change }, receiptSigner)),
    agreement: serialiseEnvelope(agreed),
    trust: { ...machine.trust, hardware: 'SEV-SNP' },
    knownOwners: [ownerId],
    releaseReplies: {},
    modelFiles,
  });
  return { verdict, failed: checks.filter(({ passed }) => !passed).map(({ name, detail }) => `${name}: ${detail}`) };
}

test('one that fits, without a reply of the vault, is consistent', () => {
  expect(verify({})).toEqual({ verdict: 'CONSISTENT', failed: [] });
});

test.each<[string, Partial<ReceiptContent>, string]>([
  ['names another vault', { releases: [{ ...release, vaultHost: 'kv-other.vault.azure.net' }] }, 'released keys: '],
  ['names another key', { releases: [{ ...release, keyId: `${release.keyId}0` }] }, 'released keys: '],
  [
    'names a release of nobody’s key',
    { releases: [release, { ...release, ownerId: thumbprint(receiptKey) }] },
    'released keys: ',
  ],
  ['lets a metric out', { metrics: { loss: 1, rows: 7 } }, 'metrics beyond those agreed on: found rows, wanted '],
])('one that %s is rejected', (_, change, detail) => {
  const { verdict, failed } = verify(change);
  expect(verdict).toBe('REJECTED');
  expect(failed).toEqual([expect.stringContaining(`${AGREED}: ${detail}`)]);
});

test.each<[string, readonly string[], string]>([
  ['names fewer files than there are', ['model.json'], 'weights.bin in the receipt: found missing, wanted there'],
  ['names more', ['model.json', 'weights.bin', 'extra.bin'], 'extra.bin is missing'],
  ['names a file as every object has members', ['model.json', 'weights.bin', 'constructor'], 'constructor is missing'],
])('one that %s is rejected', (_, names, detail) => {
  const files: Readonly<Record<string, Uint8Array>> = FILES;
  const model = names.map((name) => modelFile(name, Object.hasOwn(files, name) ? files[name] : utf8('x')));
  expect(verify({ model })).toEqual({ verdict: 'REJECTED', failed: [`${MODEL}: ${detail}`] });
});

function modelFile(name: string, bytes: Uint8Array = new Uint8Array()) {
  return { name, plainSha256: toHex(sha256(bytes)), sealedSha256: TRAINER };
}
