import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { fromBase64, toBase64, utf8 } from '../../../runtime/crypto/bytes.ts';
import { ecPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { type Envelope, type Statement, serialiseEnvelope, signStatement } from '../../../runtime/statements/dsse.ts';
import { evidenceDigest, parseReceipt, type ReceiptContent, signReceipt } from '../../../runtime/statements/receipt.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { rejection } from '../rejection.ts';

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ownerId = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs';
const evidence = { version: 1, hclReport: 'AAAA', quote: { pcrs: { 10: 'aa', 2: 'bb' } } };
const CONTENT: ReceiptContent = {
  runId: 'run-1',
  agreementDigest: '01'.repeat(32),
  manifests: [{ ownerId, dataset: 'mnist', version: 3, digest: '02'.repeat(32) }],
  trainerSha256: '03'.repeat(32),
  configuration: parseTrainingConfig({ training: { input_size: 784, hidden_size: 512, output_size: 10 } }),
  metrics: { loss: 0.07, accuracy: 0.979 },
  model: [
    { name: 'model.json', plainSha256: '04'.repeat(32), sealedSha256: '05'.repeat(32) },
    { name: 'weights.bin', plainSha256: '06'.repeat(32), sealedSha256: '07'.repeat(32) },
  ],
  checkpointChainHead: '08'.repeat(32),
  eventLogHead: '09'.repeat(32),
  evidence,
  evidenceSha256: evidenceDigest(evidence),
  releases: [
    {
      ownerId,
      replySha256: '0a'.repeat(32),
      nonceEchoed: true,
      vaultHost: 'kv.vault.azure.net',
      keyId: `https://kv.vault.azure.net/keys/k/${'0'.repeat(32)}`,
    },
  ],
  confinement: { networkNamespace: true, missing: [] },
  hygiene: { swap: false },
  hardware: 'EMULATED',
  engine: { backend: 'wasm', versions: { tfjs: '4.22.0', node: '24.21.0' } },
  startedOn: '2026-11-20T12:00:00.000Z',
  finishedOn: '2026-11-20T12:01:00.000Z',
  receiptKey: ecPublicJwk(key),
};
const signed = signReceipt(CONTENT, key);
const statementOf = (envelope: Envelope): Statement =>
  JSON.parse(new TextDecoder().decode(fromBase64(envelope.payload)));
const resigned = (change: (statement: Statement) => unknown) =>
  serialiseEnvelope(signStatement(change(statementOf(signed)) as Statement, [key]));

/** A copy with the value at a path replaced. */
function set(value: unknown, path: readonly (string | number)[], replacement: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return replacement;
  const inner = (value as Record<string | number, unknown>)[name];
  if (Array.isArray(value)) return value.map((each, i) => (i === name ? set(inner, rest, replacement) : each));
  return { ...(value as object), [name]: set(inner, rest, replacement) };
}

test('content comes back', () => {
  const { content, digest } = parseReceipt(serialiseEnvelope(signed));
  expect(content).toEqual(CONTENT);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
});

test('privacy that was spent stands in it, and is nothing where none was promised', () => {
  const privacy = { epsilon: 1.25, delta: 1e-5, steps: 400 };
  const read = (content: ReceiptContent) => parseReceipt(serialiseEnvelope(signReceipt(content, key))).content;
  expect(read({ ...CONTENT, privacy })).toEqual({ ...CONTENT, privacy });
  expect(read(CONTENT).privacy).toBeUndefined();
  const wrong = { ...CONTENT, privacy: { ...privacy, epsilon: 'little' as unknown as number } };
  expect(() => signReceipt(wrong, key)).toThrow('privacy.epsilon');
});

test('other tools see SLSA provenance about the model', () => {
  const { predicateType, predicate, subject } = statementOf(signed);
  expect(predicateType).toBe('https://slsa.dev/provenance/v1');
  expect(subject.map(({ name }) => name)).toEqual([
    'model.json',
    'model.json.sealed',
    'weights.bin',
    'weights.bin.sealed',
  ]);
  expect(predicate).toMatchObject({
    buildDefinition: {
      buildType: 'urn:confidential-training:train:v1',
      resolvedDependencies: [
        { name: 'agreement', digest: { sha256: CONTENT.agreementDigest } },
        { name: 'trainer', digest: { sha256: CONTENT.trainerSha256 } },
        {
          name: 'manifest',
          digest: { sha256: '02'.repeat(32) },
          annotations: { ownerId, dataset: 'mnist', version: 3 },
        },
      ],
    },
    runDetails: { metadata: { invocationId: 'run-1', startedOn: CONTENT.startedOn, finishedOn: CONTENT.finishedOn } },
  });
});

test('only the key that it names signs it', () => {
  expect(() => signReceipt(CONTENT, other)).toThrow(
    rejection('CONFIG_INVALID', 'the signing key is not the one that it names'),
  );
  const bytes = serialiseEnvelope(signStatement(statementOf(signed), [other]));
  expect(() => parseReceipt(bytes)).toThrow(rejection('EVIDENCE_MALFORMED', 'the key that it names has not signed it'));
});

test('a changed payload is refused under the old signature', () => {
  const changed = { ...statementOf(signed), subject: [] };
  const bytes = utf8(JSON.stringify({ ...signed, payload: toBase64(utf8(JSON.stringify(changed))) }));
  expect(() => parseReceipt(bytes)).toThrow(rejection('EVIDENCE_MALFORMED', 'receipt: model: found a list of 0'));
});

test.each<[string, object, string]>([
  [
    'evidence of another digest',
    { evidenceSha256: 'ff'.repeat(32) },
    'evidenceSha256: it is not the digest of the evidence',
  ],
  ['an end before the start', { finishedOn: '2026-11-20T11:59:59.000Z' }, 'before it started'],
  ['no model', { model: [] }, 'model: found a list of 0'],
  ['a metric that is no number', { metrics: { loss: Number.NaN } }, 'metrics.loss: found null, wanted a number'],
  ['other hardware', { hardware: 'TDX' }, 'hardware: found "TDX"'],
  ['no release', { releases: [] }, 'releases: found a list of 0'],
])('does not sign %s', (_, change, message) => {
  expect(() => signReceipt({ ...CONTENT, ...change } as ReceiptContent, key)).toThrow(
    rejection('CONFIG_INVALID', message),
  );
});

const DEFINITION = ['predicate', 'buildDefinition'] as const;
const DETAILS = ['predicate', 'runDetails'] as const;
test.each<[string, readonly (string | number)[], unknown, string]>([
  ['another predicate type', ['predicateType'], 'urn:other', 'found predicate type urn:other'],
  ['another build type', [...DEFINITION, 'buildType'], 'urn:other', 'buildDefinition.buildType: found "urn:other"'],
  ['an unknown external parameter', [...DEFINITION, 'externalParameters', 'extra'], 1, 'more or other things'],
  ['an unknown internal parameter', [...DEFINITION, 'internalParameters', 'extra'], 1, 'more or other things'],
  ['another dependency', [...DEFINITION, 'resolvedDependencies', 1, 'name'], 'x', 'trainerSha256: found nothing'],
  [
    'an annotation more',
    [...DEFINITION, 'resolvedDependencies', 2, 'annotations', 'extra'],
    1,
    'manifests[0].extra: unknown member',
  ],
  ['another builder', [...DETAILS, 'builder', 'id'], 'urn:other', 'more or other things'],
  [
    'other evidence',
    [...DETAILS, 'byproducts', 3, 'annotations', 'version'],
    2,
    'it is not the digest of the evidence',
  ],
  ['metrics that are no JSON', [...DETAILS, 'byproducts', 0, 'content'], '!', 'metrics: found nothing'],
  ['no run details', [...DETAILS], 7, 'runDetails: found 7, wanted an object'],
  ['one subject fewer', ['subject'], [statementOf(signed).subject[0]], 'model[0].sealedSha256: found nothing'],
  ['a subject by another name', ['subject', 1, 'name'], 'x.sealed', 'its subjects are not those'],
])('refuses %s, though signed', (_, path, value, message) => {
  const bytes = resigned((statement) => set(statement, path, value));
  expect(() => parseReceipt(bytes)).toThrow(rejection('EVIDENCE_MALFORMED', 'receipt: ', message));
});

test('the order of members carries no meaning', () => {
  const bytes = resigned((statement) => ({
    ...statement,
    predicate: Object.fromEntries(Object.entries(statement.predicate).reverse()),
  }));
  expect(parseReceipt(bytes).content).toEqual(CONTENT);
});

test('initial weights are a dependency, as the configuration names them', () => {
  const sha256 = 'cd'.repeat(32);
  const { training } = CONTENT.configuration;
  const content = { ...CONTENT, configuration: { training: { ...training, initial_weights: sha256 } } };
  const envelope = signReceipt(content, key);
  const { predicate } = statementOf(envelope) as unknown as {
    predicate: { buildDefinition: { resolvedDependencies: object[] } };
  };
  expect(predicate.buildDefinition.resolvedDependencies).toContainEqual({
    name: 'initial-weights',
    digest: { sha256 },
  });
  expect(parseReceipt(serialiseEnvelope(envelope)).content.configuration).toEqual(content.configuration);
  const dropped = resigned((statement) =>
    set(
      statement,
      ['predicate', 'buildDefinition', 'externalParameters', 'configuration', 'training', 'initial_weights'],
      sha256,
    ),
  );
  expect(() => parseReceipt(dropped)).toThrow(rejection('EVIDENCE_MALFORMED', 'it says more or other things'));
});
