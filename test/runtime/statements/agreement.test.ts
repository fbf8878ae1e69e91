import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { expect, test } from 'vitest';
import { STRICT_ENVIRONMENT } from '../../../runtime/catalogue.ts';
import { ecPublicJwk, rsaPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import {
  type Agreement,
  type AgreementOwner,
  agreementSigners,
  agreementStatement,
  parseAgreement,
  verifyAgreement,
} from '../../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement } from '../../../runtime/statements/dsse.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { rejection } from '../rejection.ts';

const key = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const [hospital, clinic, lab] = [key(), key(), key()];
const rsa = rsaPublicJwk(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
const party = (name: string, signer: KeyObject) => {
  const signingKey = ecPublicJwk(signer);
  return { ownerId: thumbprint(signingKey), name, signingKey };
};
const owner = (name: string, signer: KeyObject): AgreementOwner => ({
  ...party(name, signer),
  annexKey: rsa,
  vaultHost: `kv-${name}.vault.azure.net`,
  keyName: 'training-key-1a2b3c4d',
  keyVersion: '0'.repeat(32),
  key: rsa,
  attestationAuthority: `https://att${name}.weu.attest.azure.net`,
  releasePolicySha256: 'ab'.repeat(32),
  datasets: [
    { dataset: 'mnist', version: 1, manifestDigest: 'cd'.repeat(32), prefix: `${party(name, signer).ownerId}/mnist/1` },
  ],
});
const TRAINER = 'ef'.repeat(32);
const AGREEMENT: Agreement = {
  name: 'digits',
  purpose: 'train',
  owners: [owner('hospital', hospital), owner('clinic', clinic)],
  modelOwner: party('lab', lab),
  trainers: [TRAINER],
  configuration: parseTrainingConfig({ training: { input_size: 784, hidden_size: 512, output_size: 10 } }),
  environment: STRICT_ENVIRONMENT,
  recipients: { model: [{ name: 'lab', key: rsa }], checkpoints: [] },
  metrics: ['loss', 'accuracy'],
  customCode: false,
  maxRuns: 2,
  notAfter: '2027-01-31T00:00:00Z',
};
const NOW = new Date('2026-11-20T12:00:00Z');
const bytes = (...signers: KeyObject[]) => serialiseEnvelope(signStatement(agreementStatement(AGREEMENT), signers));

test('an agreement that everybody signed holds', () => {
  const { agreement, digest } = verifyAgreement(bytes(hospital, clinic, lab), {
    trainerSha256: TRAINER,
    now: NOW,
    runIndex: 1,
  });
  expect(agreement).toEqual(AGREEMENT);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
});

test('one person in every role signs once', () => {
  const alone = { ...AGREEMENT, owners: [owner('hospital', hospital)], modelOwner: party('hospital', hospital) };
  expect(agreementSigners(alone)).toHaveLength(1);
  const envelope = serialiseEnvelope(signStatement(agreementStatement(alone), [hospital]));
  expect(verifyAgreement(envelope).agreement).toEqual(alone);
});

test('lists everything that is missing at once', () => {
  const late = { trainerSha256: '00'.repeat(32), now: new Date('2027-02-01T00:00:00Z'), runIndex: 2 };
  expect(() => verifyAgreement(bytes(clinic), late)).toThrow(
    expect.objectContaining({
      code: 'CONSENT_MISSING',
      message: expect.stringContaining('agreement digits: '),
      failures: [
        `no valid signature of hospital (${party('', hospital).ownerId})`,
        `no valid signature of lab (${party('', lab).ownerId})`,
        `trainer ${'00'.repeat(32)} is not one it names`,
        'it expired at 2027-01-31T00:00:00Z',
        'its 2 runs are used up',
      ],
    }),
  );
});

test.each([
  ['nobody', [], 'no valid signature of hospital'],
  ['all but the model owner', [hospital, clinic], 'no valid signature of lab'],
  ['a stranger as well', [hospital, lab, key()], 'no valid signature of clinic'],
])('is not agreed when signed by %s', (_, signers, message) => {
  expect(() => verifyAgreement(bytes(...signers))).toThrow(rejection('CONSENT_MISSING', message));
});

test('a clock that is no clock has no time left', () => {
  expect(() => verifyAgreement(bytes(hospital, clinic, lab), { now: new Date(Number.NaN) })).toThrow(
    rejection('CONSENT_MISSING', 'it expired'),
  );
});

const withOwner = (change: object) => ({ owners: [{ ...AGREEMENT.owners[0], ...change }] });
const withDataset = (change: object) => withOwner({ datasets: [{ ...AGREEMENT.owners[0]?.datasets[0], ...change }] });
const withEnvironment = (change: object) => ({ environment: { ...STRICT_ENVIRONMENT, ...change } });
const { seed, ...seedless } = AGREEMENT.configuration.training;
test.each<[string, object, string]>([
  ['another purpose', { purpose: 'predict' }, 'purpose: found "predict", wanted "train"'],
  ['no owner', { owners: [] }, 'owners: found a list of 0'],
  ['one owner twice', { owners: [AGREEMENT.owners[0], AGREEMENT.owners[0]] }, 'owners[1]: '],
  ['a foreign owner id', withOwner({ ownerId: party('', lab).ownerId }), "wanted its signing key's thumbprint"],
  ['a vault with a port', withOwner({ vaultHost: 'kv.vault.azure.net:1' }), 'owners[0].vaultHost'],
  ['a vault in capitals', withOwner({ vaultHost: 'KV.vault.azure.net' }), 'owners[0].vaultHost'],
  ['a key without a version', withOwner({ keyVersion: '' }), 'owners[0].keyVersion: found ""'],
  [
    'an authority with a slash',
    withOwner({ attestationAuthority: 'https://a.attest.azure.net/' }),
    'owners[0].attestationAuthority',
  ],
  [
    'a plain http authority',
    withOwner({ attestationAuthority: 'http://a.attest.azure.net' }),
    'owners[0].attestationAuthority',
  ],
  [
    'a key in another spelling',
    withOwner({ key: { ...rsa, e: 'AAEAAQ' } }),
    'owners[0].key: the key is not in its canonical form',
  ],
  ['a key with a private member', withOwner({ key: { ...rsa, d: 'AQAB' } }), 'owners[0].key.d: unknown member'],
  ['a prefix that climbs', withDataset({ prefix: 'a/../b' }), 'owners[0].datasets[0].prefix'],
  ['no dataset', withOwner({ datasets: [] }), 'owners[0].datasets: found a list of 0'],
  [
    'a model owner by another name',
    { modelOwner: { ...AGREEMENT.modelOwner, ownerId: party('', clinic).ownerId } },
    'modelOwner: found owner id',
  ],
  ['no trainer', { trainers: [] }, 'trainers: found a list of 0'],
  [
    'an incomplete configuration',
    { configuration: { training: seedless } },
    'configuration.training.seed: found nothing, wanted a value',
  ],
  [
    'a wrong configuration',
    { configuration: { training: { ...seedless, seed, epochs: 0 } } },
    'configuration.training.epochs: found 0',
  ],
  [
    'a default that the canonical form leaves out',
    { configuration: { training: { ...seedless, seed, warmup_steps: 0 } } },
    'configuration.training.warmup_steps: wanted it left out, it is the default',
  ],
  [
    'a name for editors',
    { configuration: { $schema: 'x', ...AGREEMENT.configuration } },
    'configuration.$schema: unknown key',
  ],
  ['no configuration', { configuration: null }, 'configuration.it is not an object'],
  [
    'an environment with a gap',
    withEnvironment({ idKeyDigests: undefined }),
    'environment.idKeyDigests: found nothing',
  ],
  ['an environment for nobody', withEnvironment({ generations: [] }), 'environment.generations'],
  ['another generation', withEnvironment({ generations: ['Rome'] }), 'environment.generations[0]: found "Rome"'],
  ['VM ids in capitals', withEnvironment({ vmIds: ['ABCDEF00-0000-0000-0000-000000000000'] }), 'environment.vmIds[0]'],
  ['a check more than we know', withEnvironment({ minimumPlatform: 1 }), 'environment.minimumPlatform: unknown member'],
  ['nobody to get the model', { recipients: { model: [], checkpoints: [] } }, 'recipients.model: found a list of 0'],
  ['custom code of any kind', { customCode: true }, 'customCode: found true, wanted false'],
  ['custom code without a digest', { customCode: {} }, 'customCode.sha256: found nothing'],
  [
    'custom code that the configuration does not name',
    { customCode: { sha256: 'ab'.repeat(32) } },
    'customCode is there, but the configuration names no module',
  ],
  [
    'a module that nobody could review',
    { configuration: { training: { ...seedless, seed, model: './model.ts' } } },
    'customCode is false, but the configuration names a module',
  ],
  ['no run', { maxRuns: 0 }, 'maxRuns: found 0'],
  ['30 February', { notAfter: '2027-02-30T00:00:00Z' }, 'notAfter: 2027-02-30T00:00:00Z is no date'],
  ['a local time', { notAfter: '2027-02-01T00:00:00+01:00' }, 'notAfter'],
])('refuses %s, signed or to be signed', (_, change, message) => {
  const changed = { ...AGREEMENT, ...change } as Agreement;
  expect(() => agreementStatement(changed)).toThrow(rejection('CONFIG_INVALID', message));
  const statement = { ...agreementStatement(AGREEMENT), predicate: JSON.parse(JSON.stringify(changed)) };
  const envelope = serialiseEnvelope(signStatement(statement, [hospital, clinic, lab]));
  expect(() => verifyAgreement(envelope)).toThrow(rejection('EVIDENCE_MALFORMED', 'agreement: ', message));
});

test('subjects must be the manifests', () => {
  const statement = agreementStatement(AGREEMENT);
  expect(statement.subject.map(({ digest }) => digest.sha256)).toEqual(['cd'.repeat(32), 'cd'.repeat(32)]);
  expect(() => parseAgreement({ ...statement, subject: [] })).toThrow(rejection('EVIDENCE_MALFORMED', 'its subjects'));
});
