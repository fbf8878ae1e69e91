import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createVaultSigner } from '../../../emulator/service-pki.ts';
import { createKey } from '../../../emulator/vault-keys.ts';
import { type VaultAction, vaultService } from '../../../emulator/vault-service.ts';
import { openVaultState } from '../../../emulator/vault-state.ts';
import { managedIdentity } from '../../../runtime/azure/identity.ts';
import { vaultClient } from '../../../runtime/azure/vault.ts';
import { type Deployment, STRICT_ENVIRONMENT, TRAINING_KEY } from '../../../runtime/catalogue.ts';
import { toBase64Url } from '../../../runtime/crypto/bytes.ts';
import {
  buildReleasePolicy,
  policyKeyName,
  type ReleasePolicy,
  releasePolicyBytes,
  samePolicy,
} from '../../../runtime/keys/release-policy.ts';
import { declaredPolicy, lockKey } from '../../../scripts/run/lock-key.ts';
import { OPERATOR, SmallAzure, STRANGER } from '../../emulator/small-azure.ts';
import { rejection } from '../../runtime/rejection.ts';

const HOST = 'kv-owner.vault.azure.net';
const AUTHORITY = 'https://attestowner.weu.attest.azure.net';
const azure = new SmallAzure([HOST]);
const state = openVaultState(mkdtempSync(join(tmpdir(), 'lock-key-')));
const allowed = new Map<string, readonly VaultAction[]>();
const keys = vaultClient(azure.network, managedIdentity(azure.network, OPERATOR.clientId), HOST);
const declared = declaredPolicy({
  owner: { attestationAuthority: AUTHORITY },
  environment: STRICT_ENVIRONMENT,
} as Deployment);
const NAME = policyKeyName(TRAINING_KEY, declared);
let number = 0;
/** Without digest, so that one name stands for one key of this test. */
let name: string;

beforeAll(async () => {
  await azure.addMetadata();
  const handler = vaultService({
    host: HOST,
    tenantId: azure.issuer.tenantId,
    state,
    tokenIssuers: () => undefined,
    authenticate: (bearer) => azure.issuer.authenticate(`Bearer ${bearer}`, 'https://vault.azure.net'),
    authorise: (principalId, action) => allowed.get(principalId)?.includes(action) ?? false,
    signer: createVaultSigner(HOST, new Date()),
  });
  await azure.add({ service: 'vault', hosts: [HOST], handler });
  allowed.set(OPERATOR.principalId, ['get', 'create', 'update']);
  allowed.set(STRANGER.principalId, ['get']);
});
beforeEach(() => {
  number += 1;
  name = `key${number}`;
});
afterAll(() => azure.stop());

function make(keyName: string, change: object = {}, policy: ReleasePolicy = declared, immutable = false) {
  const release_policy = { data: toBase64Url(releasePolicyBytes(policy)), immutable };
  const good = {
    kty: 'RSA-HSM',
    key_size: 2048,
    key_ops: ['wrapKey'],
    attributes: { exportable: true },
    release_policy,
  };
  return createKey(state, keyName, { ...good, ...change }, new Date());
}

test('locks the policy it was shown, once', async () => {
  await make(NAME);
  expect(await lockKey(keys, NAME, declared)).toBe(true);
  const live = state.get(NAME)?.releasePolicy;
  expect([live?.immutable, live !== undefined && samePolicy(live.policy, declared)]).toEqual([true, true]);
  expect(await lockKey(keys, NAME, declared)).toBe(false);
  const after = state.get(NAME);
  expect([after?.versions.length, after?.versions[0]?.keyOps]).toEqual([1, ['wrapKey']]);
  // What it was for: not even somebody with every right changes it now.
  const other = releasePolicyBytes(buildReleasePolicy({ authority: 'https://attestevil.weu.attest.azure.net' }));
  await expect(keys.lockReleasePolicy(NAME, other)).rejects.toThrow(rejection('CONFIG_INVALID', 'AKV.SKR.1020'));
});

const other = buildReleasePolicy({ authority: 'https://attestevil.weu.attest.azure.net' });
const plain = { attributes: {}, release_policy: undefined };

test.each<[string, object, ReleasePolicy, string]>([
  ['another policy', {}, other, 'its release policy is '],
  ['operations that bypass attestation', { key_ops: ['wrapKey', 'unwrapKey'] }, declared, 'key_ops: found unwrapKey'],
  ['a key that never leaves', plain, declared, 'it is not exportable'],
  ['a key without a policy', plain, declared, 'it has no release policy'],
  ['a disabled key', { attributes: { exportable: true, enabled: false } }, declared, 'it is disabled'],
])('%s is not locked', async (_, change, policy, says) => {
  await make(name, change, policy);
  const before = state.get(name);
  await expect(lockKey(keys, name, declared)).rejects.toThrow(rejection('CONFIG_INVALID', `key ${name}`, says));
  expect(state.get(name)).toEqual(before);
});

test('a wrong key that is locked already is told, not taken for done', async () => {
  await make(name, {}, other, true);
  await expect(lockKey(keys, name, declared)).rejects.toThrow(rejection('CONFIG_INVALID', 'its release policy is '));
});

test('everything that is wrong is told at once, the digest in the name too', async () => {
  await make(`${name}-00000000`, { key_ops: ['decrypt'] }, other);
  await expect(lockKey(keys, `${name}-00000000`, declared)).rejects.toMatchObject({ failures: { length: 3 } });
});

test('a policy of the same meaning in other words is the same', async () => {
  const loose = JSON.stringify({ anyOf: declared.anyOf, version: '1.0.0' });
  await make(name, { release_policy: { data: Buffer.from(loose).toString('base64url'), immutable: false } });
  expect(await lockKey(keys, name, declared)).toBe(true);
});

test('without the role, and without the key, it says so', async () => {
  await make(name);
  const stranger = vaultClient(azure.network, managedIdentity(azure.network, STRANGER.clientId), HOST);
  await expect(lockKey(stranger, name, declared)).rejects.toThrow(rejection('CONFIG_INVALID', '403'));
  expect(state.get(name)?.releasePolicy?.immutable).toBe(false);
  await expect(lockKey(keys, 'absent', declared)).rejects.toThrow(rejection('CONFIG_INVALID', 'no key absent'));
});

/** A vault that says yes and does nothing, or changes more than it was asked to. */
test.each<[string, object, string]>([
  ['takes the lock and forgets it', {}, 'its policy can still change'],
  ['is changed by somebody meanwhile', { keyOps: ['wrapKey', 'decrypt'] }, 'key_ops: found decrypt'],
])('a vault that %s is not believed', async (_, change, says) => {
  await make(name);
  let locked = false;
  const doubtful = {
    getKey: async (keyName: string) => {
      const key = await keys.getKey(keyName);
      return key === undefined ? undefined : { ...key, ...(locked ? change : {}) };
    },
    lockReleasePolicy: async () => {
      locked = true;
    },
  };
  await expect(lockKey(doubtful, name, declared)).rejects.toThrow(rejection('CONFIG_INVALID', says));
});
