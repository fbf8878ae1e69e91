import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { TokenCredential } from '@azure/core-auth';
import { blobStore } from '../runtime/azure/blob-store.ts';
import type { Network } from '../runtime/azure/network.ts';
import { request } from '../runtime/azure/request.ts';
import { CONTAINERS, TRAINER_BUNDLE, TRAINING_KEY } from '../runtime/catalogue.ts';
import { sha256, toBase64Url, toHex } from '../runtime/crypto/bytes.ts';
import { buildReleasePolicy, policyKeyName, releasePolicyBytes } from '../runtime/keys/release-policy.ts';
import { ROLES, type RoleAssignment, type RoleAssignments } from './roles.ts';
import type { EmulatorState } from './state.ts';
import { createKey } from './vault-keys.ts';
import type { VaultState } from './vault-state.ts';

export { OPERATOR_CLIENT_ID } from './state.ts';

/** What `terraform apply` would have granted. Release is missing on purpose: that is what `approve` grants. */
function initialRoles({ names, operator, trainer, subscriptionId }: EmulatorState): readonly RoleAssignment[] {
  const grant = (principalId: string, roleId: string, scope: string): RoleAssignment => ({
    name: randomUUID(),
    scope,
    principalId,
    roleId,
  });
  return [
    grant(operator.principalId, ROLES.owner, `/subscriptions/${subscriptionId}`),
    grant(operator.principalId, ROLES.storageBlobDataContributor, names.storageId),
    grant(operator.principalId, ROLES.keyVaultCryptoOfficer, names.vaultId),
    grant(trainer.principalId, ROLES.storageBlobDataContributor, names.storageId),
    grant(trainer.principalId, ROLES.monitoringMetricsPublisher, names.ruleResourceId),
    grant(trainer.principalId, ROLES.deallocateOneself, names.machineId),
  ];
}

/** Puts the initial grants into a new deployment; one that was started before keeps what it has. */
export function provisionRoles(roles: RoleAssignments, state: EmulatorState, isNew: boolean): void {
  if (isNew) for (const assignment of initialRoles(state)) roles.assign(assignment);
}

/**
 * The owner's release key, locked from the start: exportable to what its policy describes, good for wrapping only.
 * @returns its name, which carries the digest of its policy
 */
export async function provisionKey(vault: VaultState, { names }: EmulatorState, now: Date): Promise<string> {
  const policy = buildReleasePolicy({ authority: names.attestationAuthority });
  const name = policyKeyName(TRAINING_KEY, policy);
  if (vault.get(name) !== undefined) return name;
  const body = {
    kty: 'RSA-HSM',
    key_size: 3072,
    key_ops: ['wrapKey'],
    attributes: { enabled: true, exportable: true },
    release_policy: { data: toBase64Url(releasePolicyBytes(policy)), immutable: true },
  };
  await createKey(vault, name, body, now);
  return name;
}

/** Makes the containers, by the storage service's own REST call: on Azure that is the resource manager's work. */
export async function provisionContainers(
  network: Network,
  credential: TokenCredential,
  blobEndpoint: string,
): Promise<void> {
  const as = { credential, scope: 'https://storage.azure.com/.default' };
  const headers = { 'x-ms-version': '2025-01-05', 'content-length': '0' };
  for (const container of CONTAINERS) {
    const url = `${blobEndpoint}/${container}?restype=container`;
    await request(network, {
      what: `container ${container}`,
      denied: 'CONFIG_INVALID',
      as,
      method: 'PUT',
      url,
      headers,
      // 409: made by an earlier start.
      accepted: [409],
    });
  }
}

/** Puts a bundle where machines look for it. @returns its SHA-256 */
export async function publishBundle(
  network: Network,
  credential: TokenCredential,
  blobEndpoint: string,
  file: string,
): Promise<string> {
  const bytes = await readFile(file);
  const digest = toHex(sha256(bytes));
  const store = blobStore(network, credential, blobEndpoint, 'trainer');
  const name = `${digest}/${TRAINER_BUNDLE}`;
  // A name is a digest: what is there already is the same.
  if ((await store.properties(name))?.size !== bytes.length) await store.put(name, bytes);
  return digest;
}
