import { generateKeyPairSync } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { generateCek, sealBytes } from '../../../runtime/crypto/sealed-object.ts';
import { type Statement, serialiseEnvelope, signStatement } from '../../../runtime/statements/dsse.ts';
import {
  bindObject,
  checkKeyBinding,
  type Manifest,
  type ManifestObject,
  manifestStatement,
  parseManifest,
  signManifest,
  verifyManifest,
} from '../../../runtime/statements/manifest.ts';
import { describeSealed } from '../../../runtime/statements/sealed-description.ts';
import { rejection } from '../rejection.ts';

const owner = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ownerId = thumbprint(ecPublicJwk(owner));
const cek = generateCek();
const schema: Manifest['schema'] = {
  columns: ['a', 'b'],
  featureCount: 2,
  dtype: 'float32',
  label: 'label',
  classes: ['no', 'yes'],
  normalisation: { kind: 'none' },
};
let object: ManifestObject;
let manifest: Manifest;

beforeAll(async () => {
  const description = describeSealed('train-00000.enc', await sealBytes(utf8('rows'), cek));
  object = { ...description, split: 'train', rows: 2, keyBinding: bindObject(cek, ownerId, description) };
  manifest = {
    ownerId,
    dataset: 'mnist',
    version: 1,
    schema,
    objects: [object, { ...object, name: 'test-00000.enc', split: 'test' }],
  };
});

test('a signed manifest comes back', () => {
  const { manifest: read, digest } = verifyManifest(
    serialiseEnvelope(signManifest(manifest, owner)),
    ecPublicJwk(owner),
  );
  expect(read).toEqual(manifest);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
});

test.each<Manifest['schema']['normalisation']>([
  { kind: 'scale', divisor: 255 },
  { kind: 'standard', mean: [0, 1.5], deviation: [1, 0.25] },
])('normalisation %o comes back', (normalisation) => {
  const changed = { ...manifest, schema: { ...schema, normalisation } };
  expect(parseManifest(manifestStatement(changed))).toEqual(changed);
});

test('coding of rows comes back, and an old manifest has none', () => {
  const coding = { names: 'one-hot' as const, categories: { b: ['x', 'y'] }, fill: { a: 1.5 } };
  const changed = { ...manifest, schema: { ...schema, coding } };
  expect(parseManifest(manifestStatement(changed))).toEqual(changed);
  expect(parseManifest(manifestStatement(manifest)).schema.coding).toBeUndefined();
});

test('only the owner signs, and only their own', () => {
  expect(() => signManifest(manifest, stranger)).toThrow(
    rejection('CONFIG_INVALID', `manifest is of owner ${ownerId}`),
  );
  const bytes = serialiseEnvelope(signManifest(manifest, owner));
  expect(() => verifyManifest(bytes, ecPublicJwk(stranger))).toThrow(
    rejection('CONSENT_MISSING', 'no valid signature of key'),
  );
  const resigned = serialiseEnvelope(signStatement(manifestStatement(manifest), [stranger]));
  expect(() => verifyManifest(resigned, ecPublicJwk(stranger))).toThrow(
    rejection('EVIDENCE_MALFORMED', `it names owner ${ownerId}`),
  );
});

test('a binding holds for its key, owner and object only', () => {
  checkKeyBinding(cek, ownerId, object);
  const refused = rejection(
    'CIPHERTEXT_REJECTED',
    'train-00000.enc: its key is not the one that its owner bound to it',
  );
  expect(() => checkKeyBinding(generateCek(), ownerId, object)).toThrow(refused);
  expect(() => checkKeyBinding(cek, thumbprint(ecPublicJwk(stranger)), object)).toThrow(refused);
  expect(() => checkKeyBinding(cek, ownerId, { ...object, merkleRoot: 'ab'.repeat(32) })).toThrow(refused);
});

type Change = (good: Manifest) => object;
const withSchema =
  (change: object): Change =>
  (good) => ({ ...good, schema: { ...good.schema, ...change } });
const withObject =
  (change: object): Change =>
  (good) => ({ ...good, objects: [{ ...good.objects[0], ...change }] });
test.each<[string, Change, string]>([
  ['no owner', (good) => ({ ...good, ownerId: 'me' }), 'ownerId: found "me", wanted a base64url SHA-256 thumbprint'],
  ['version 0', (good) => ({ ...good, version: 0 }), 'version: found 0, wanted a whole number from 1'],
  ['a path as dataset', (good) => ({ ...good, dataset: '../x' }), 'dataset: found "../x"'],
  ['an unknown member', (good) => ({ ...good, obiects: [] }), 'obiects: unknown member, did you mean objects?'],
  ['no objects', (good) => ({ ...good, objects: [] }), 'objects: found a list of 0, wanted a list of 1'],
  [
    'one name twice',
    (good) => ({ ...good, objects: [good.objects[0], good.objects[0]] }),
    'objects[1]: train-00000.enc is there twice',
  ],
  ['too few columns', withSchema({ columns: ['a'] }), 'schema: found 1 columns, wanted 2'],
  ['one column twice', withSchema({ columns: ['a', 'a'] }), 'schema.columns[1]: a is there twice'],
  ['another dtype', withSchema({ dtype: 'int64' }), 'schema.dtype: found "int64", wanted "uint8" or "float32"'],
  ['a control character', withSchema({ label: 'a\u001b[2J' }), 'schema.label'],
  [
    'a coding of another kind',
    withSchema({ coding: { names: 'hash', categories: {}, fill: {} } }),
    'schema.coding.names: found "hash", wanted "one-hot" or "ordinal"',
  ],
  ['no normalisation', withSchema({ normalisation: undefined }), 'schema.normalisation.kind: found nothing'],
  ['another normalisation', withSchema({ normalisation: { kind: 'log' } }), 'schema.normalisation.kind: found "log"'],
  [
    'division by zero',
    withSchema({ normalisation: { kind: 'scale', divisor: 0 } }),
    'schema.normalisation.divisor: found 0',
  ],
  [
    'too few means',
    withSchema({ normalisation: { kind: 'standard', mean: [1], deviation: [1, 1] } }),
    'found 1 means and 2 deviations',
  ],
  ['another protocol', withObject({ protocol: '1.0' }), 'objects[0].protocol: found "1.0", wanted "2.0"'],
  ['a reserved name', withObject({ name: 'keys.json' }), 'objects[0].name: keys.json is reserved'],
  ['another leaves file', withObject({ name: 'a.leaves' }), 'objects[0].name: a.leaves is reserved'],
  ['another split', withObject({ split: 'dev' }), 'objects[0].split: found "dev"'],
  ['no rows', withObject({ rows: 0 }), 'objects[0].rows: found 0'],
  [
    'sizes that do not fit',
    withObject({ regionCount: 2 }),
    'objects[0]: found 2 regions and 32 bytes, wanted 1 and 32',
  ],
  ['a short root', withObject({ merkleRoot: 'abcd' }), 'objects[0].merkleRoot'],
  [
    'no binding',
    withObject({ keyBinding: undefined }),
    'objects[0].keyBinding: found nothing, wanted 64 lower-case hex digits',
  ],
])('refuses %s, signed or to be signed', (_, change, message) => {
  const changed = change(manifest);
  expect(() => manifestStatement(changed as Manifest)).toThrow(rejection('CONFIG_INVALID', message));
  const statement: Statement = { ...manifestStatement(manifest), predicate: JSON.parse(JSON.stringify(changed)) };
  const bytes = serialiseEnvelope(signStatement(statement, [owner]));
  expect(() => verifyManifest(bytes, ecPublicJwk(owner))).toThrow(
    rejection('EVIDENCE_MALFORMED', 'manifest: ', message),
  );
});

test('lists everything wrong at once', () => {
  const changed = { ...manifest, version: -1, dataset: '' };
  expect(() => manifestStatement(changed)).toThrow(
    expect.objectContaining({
      failures: [expect.stringContaining('dataset: '), expect.stringContaining('version: found -1')],
    }),
  );
});

test('subjects and type must be those of a manifest', () => {
  const statement = manifestStatement(manifest);
  expect(() => parseManifest({ ...statement, subject: statement.subject.slice(1) })).toThrow(
    rejection('EVIDENCE_MALFORMED', 'its subjects are not those its content names'),
  );
  expect(() => parseManifest({ ...statement, predicateType: 'urn:other' })).toThrow(
    rejection(
      'EVIDENCE_MALFORMED',
      'found predicate type urn:other, wanted urn:confidential-training:dataset-manifest:v1',
    ),
  );
});
