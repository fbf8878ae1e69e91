import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { VaultKey } from '../../../runtime/azure/vault.ts';
import { STRICT_ENVIRONMENT } from '../../../runtime/catalogue.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';
import {
  buildReleasePolicy,
  decodeReleasePolicy,
  policyDigest,
  releasePolicyBytes,
} from '../../../runtime/keys/release-policy.ts';
import { type Agreement, agreementStatement, parseAgreement } from '../../../runtime/statements/agreement.ts';
import {
  addSignature,
  parseEnvelope,
  readStatement,
  serialiseEnvelope,
  signStatement,
  statementDigest,
} from '../../../runtime/statements/dsse.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { type LocalKeys, localKeys } from '../../../scripts/local-keys.ts';
import { agreedDataset, type KnownAgreement, renewAgreements } from '../../../scripts/run/renew-agreements.ts';

const rsa = (): KeyObject => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const [oldKey, newKey] = [rsaPublicJwk(rsa()), rsaPublicJwk(rsa())];
const person = (name: string): LocalKeys =>
  localKeys(name, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, DECRYPTION);
const DECRYPTION = rsa();
const [hospital, clinic, lab] = [person('hospital'), person('clinic'), person('lab')];
const POLICY = releasePolicyBytes(buildReleasePolicy({ authority: 'https://att.weu.attest.azure.net' }));
const VERSION = 'b'.repeat(32);
const TO: VaultKey = {
  kid: `https://kv-hospital.vault.azure.net/keys/training-key-2/${VERSION}`,
  version: VERSION,
  keyType: 'RSA-HSM',
  jwk: newKey,
  keyOps: ['wrapKey'],
  exportable: true,
  enabled: true,
  releasePolicy: { data: POLICY, immutable: true },
};
const NOW = new Date('2026-11-20T12:00:00Z');
const mnist = (version: number) =>
  agreedDataset({ ownerId: hospital.ownerId, dataset: 'mnist', version }, 'cd'.repeat(32));
const digits = agreedDataset({ ownerId: hospital.ownerId, dataset: 'digits', version: 1 }, 'cd'.repeat(32));
const owner = (keys: LocalKeys, datasets: readonly ReturnType<typeof agreedDataset>[]) => ({
  ownerId: keys.ownerId,
  name: keys.name,
  signingKey: keys.signingJwk,
  annexKey: keys.recipientJwk,
  vaultHost: `kv-${keys.name}.vault.azure.net`,
  keyName: 'training-key-1',
  keyVersion: 'a'.repeat(32),
  key: oldKey,
  attestationAuthority: 'https://att.weu.attest.azure.net',
  releasePolicySha256: 'ab'.repeat(32),
  datasets,
});
const theirs = agreedDataset({ ownerId: clinic.ownerId, dataset: 'rows', version: 3 }, 'ef'.repeat(32));
const AGREEMENT: Agreement = {
  name: 'three of us',
  purpose: 'train',
  owners: [owner(hospital, [mnist(1)]), owner(clinic, [theirs])],
  modelOwner: { ownerId: lab.ownerId, name: lab.name, signingKey: lab.signingJwk },
  trainers: ['ef'.repeat(32)],
  configuration: parseTrainingConfig({ training: { input_size: 784, hidden_size: 512, output_size: 10 } }),
  environment: STRICT_ENVIRONMENT,
  recipients: { model: [{ name: 'lab', key: lab.recipientJwk }], checkpoints: [] },
  metrics: ['loss'],
  customCode: false,
  maxRuns: 2,
  notAfter: '2027-01-31T00:00:00Z',
};
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-renew-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const known = (agreement: Agreement): KnownAgreement => ({
  agreement,
  digest: statementDigest(signStatement(agreementStatement(agreement), [])),
  open: 0,
});
const renew = (agreements: readonly Agreement[], moved = [{ prefix: mnist(1).prefix, now: mnist(2) }]) =>
  renewAgreements(agreements.map(known), hospital, {
    to: TO,
    vaultHost: 'kv-hospital.vault.azure.net',
    moved,
    folder: join(folder, 'agreements'),
    now: NOW,
  });

async function proposed(file: string | undefined): Promise<Agreement> {
  const envelope = parseEnvelope(await readFile(file ?? ''));
  expect(envelope.signatures).toEqual([]);
  return parseAgreement(readStatement(envelope).statement);
}

test('the same but for this owner’s key and data; nobody’s signature carries over', async () => {
  const [one, ...others] = await renew([AGREEMENT]);
  expect(others).toEqual([]);
  expect(one).toMatchObject({ name: 'three of us', signers: ['hospital', 'clinic', 'lab'] });
  expect(one?.file).toMatch(/\/agreements\/three-of-us-[0-9a-f]{8}\.dsse\.json$/);
  expect(await proposed(one?.file)).toEqual({
    ...AGREEMENT,
    owners: [
      {
        ...owner(hospital, [mnist(2)]),
        keyName: 'training-key-2',
        keyVersion: VERSION,
        key: newKey,
        releasePolicySha256: policyDigest(decodeReleasePolicy(POLICY)),
      },
      owner(clinic, [theirs]),
    ],
  });
});

test.each<[string, Partial<Agreement>]>([
  ['has expired', { notAfter: '2026-11-20T11:59:59Z' }],
  ['is about other data', { owners: [owner(hospital, [digits])] }],
  ['is about another version', { owners: [owner(hospital, [mnist(3)])] }],
  ['is other people’s', { owners: [owner(clinic, [theirs])] }],
])('one that %s is left alone', async (_, change) => {
  expect(await renew([{ ...AGREEMENT, ...change }])).toEqual([]);
  await expect(stat(join(folder, 'agreements'))).rejects.toThrow('ENOENT');
});

test('one that is about other data, too, cannot be prepared, and says why', async () => {
  const both = { ...AGREEMENT, owners: [owner(hospital, [mnist(1), digits])] };
  const [one] = await renew([both]);
  expect(one).toMatchObject({ hindrance: 'digits version 1 is in it too and was not rotated' });
  expect(one?.file).toBeUndefined();
});

test('what was proposed and run since is as good as done, unless it says something else', async () => {
  const next = await proposed((await renew([AGREEMENT]))[0]?.file);
  expect(await renew([AGREEMENT, { ...next, maxRuns: 7 }])).toEqual([]);
  expect(await renew([AGREEMENT, { ...next, name: 'another' }])).toHaveLength(1);
  const configuration = parseTrainingConfig({ training: { input_size: 784, hidden_size: 8, output_size: 10 } });
  expect(await renew([AGREEMENT, { ...next, configuration }])).toHaveLength(1);
});

test('run again, a proposal that somebody has signed stays; one about another key is replaced', async () => {
  const [{ file = '' } = {}] = await renew([AGREEMENT]);
  const signed = serialiseEnvelope(addSignature(parseEnvelope(await readFile(file)), clinic.signing));
  await writeFile(file, signed);
  await renew([AGREEMENT]);
  expect(await readFile(file)).toEqual(Buffer.from(signed));
  await renew([AGREEMENT], [{ prefix: mnist(1).prefix, now: mnist(9) }]);
  expect((await proposed(file)).owners[0]?.datasets).toEqual([mnist(9)]);
});
