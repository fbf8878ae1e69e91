import type { VaultClient } from '../../runtime/azure/vault.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { checkSealingKey } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import {
  buildReleasePolicy,
  decodeReleasePolicy,
  policyDigest,
  type ReleasePolicy,
  releasePolicyBytes,
  samePolicy,
} from '../../runtime/keys/release-policy.ts';

type Keys = Pick<VaultClient, 'getKey' | 'lockReleasePolicy'>;
type VaultKey = NonNullable<Awaited<ReturnType<Keys['getKey']>>>;

/** What the key's release policy has to be, from what the deployment says of machines and attestation. */
export function declaredPolicy({ owner, environment }: Deployment, policyHash?: string): ReleasePolicy {
  return buildReleasePolicy({
    authority: owner.attestationAuthority,
    vmIds: environment.vmIds,
    ...(policyHash === undefined ? {} : { policyHash }),
  });
}

/**
 * Makes the release policy of a key immutable, after checking that key and policy are what was declared: what is locked wrong
 * stays wrong. Doing it again changes nothing.
 * @returns whether this call locked it
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming everything about the key that is not as declared
 */
export async function lockKey(keys: Keys, keyName: string, declared: ReleasePolicy): Promise<boolean> {
  const before = await readKey(keys, keyName);
  checkDeclared(keyName, before, declared);
  if (before.releasePolicy?.immutable === true) return false;
  await keys.lockReleasePolicy(keyName, releasePolicyBytes(declared));
  const after = await readKey(keys, keyName);
  checkDeclared(keyName, after, declared);
  if (after.releasePolicy?.immutable === true) return true;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `key ${keyName}: the vault took the lock, and its policy can still change`,
  );
}

/** What about a live key is not as declared, its lock left aside. */
export function keyDifferences(keyName: string, key: VaultKey, declared: ReleasePolicy): readonly string[] {
  return [...sealingFailures(keyName, key), ...policyFailures(keyName, key, declared)];
}

function checkDeclared(keyName: string, key: VaultKey, declared: ReleasePolicy): void {
  const failures = keyDifferences(keyName, key, declared);
  if (failures.length === 0) return;
  throw new SecureTrainingError('CONFIG_INVALID', `key ${keyName} is not as declared: ${failures.join('; ')}`, {
    failures,
  });
}

function sealingFailures(keyName: string, { releasePolicy, ...key }: VaultKey): readonly string[] {
  try {
    checkSealingKey(keyName, {
      ...key,
      ...(releasePolicy === undefined ? {} : { releasePolicy: { immutable: true } }),
    });
    return [];
  } catch (error) {
    if (error instanceof SecureTrainingError) return error.failures;
    throw error;
  }
}

function policyFailures(keyName: string, { releasePolicy }: VaultKey, declared: ReleasePolicy): readonly string[] {
  if (releasePolicy === undefined) return [];
  const digest = policyDigest(declared).slice(0, 8);
  const named = /-([0-9a-f]{8})$/.exec(keyName)?.[1];
  const live = readPolicy(releasePolicy.data);
  return [
    // Eight digits name a policy; they are too few to prove one, so the whole policy is compared as well.
    ...(named === undefined || named === digest
      ? []
      : [`its name says policy ${named}, declared is ${digest} (see --policy-hash)`]),
    ...(live !== undefined && samePolicy(live, declared)
      ? []
      : [
          `its release policy is ${live === undefined ? 'none we can read' : policyDigest(live).slice(0, 8)}, wanted ${digest}`,
        ]),
  ];
}

function readPolicy(data: Uint8Array): ReleasePolicy | undefined {
  try {
    return decodeReleasePolicy(data);
  } catch (error) {
    if (error instanceof SecureTrainingError) return undefined;
    throw error;
  }
}

async function readKey(keys: Keys, keyName: string): Promise<VaultKey> {
  const key = await keys.getKey(keyName);
  if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `the vault has no key ${keyName}`);
  return key;
}
