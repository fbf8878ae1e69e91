import type { SubscriptionReader } from '../../runtime/azure/subscription.ts';
import type { VaultClient } from '../../runtime/azure/vault.ts';
import { fromBase64 } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import {
  decodeReleasePolicy,
  type ReleasePolicy,
  releasePolicyProblems,
  samePolicy,
} from '../../runtime/keys/release-policy.ts';
import { keyDifferences } from '../run/lock-key.ts';
import { machineDemand, namespaces, needsOrchestrator, ORCHESTRATOR_APP_ID } from './needs.ts';
import { type DeclaredResource, groupOf, ofType, record } from './resources.ts';

/** One thing that was looked at. `unknown`: it could not be looked at, and says why. */
export interface Check {
  readonly what: string;
  readonly state: 'ok' | 'problem' | 'unknown';
  readonly says: string;
}

type Verdict = Omit<Check, 'what'>;

export interface LiveServices {
  readonly reader: SubscriptionReader;
  /** The data plane of a vault; `undefined` where this machine cannot reach it. */
  readonly keysOf: (vaultHost: string) => Promise<Pick<VaultClient, 'getKey'> | undefined>;
}

/** Compares what is with what is declared, and changes nothing. One look that fails does not keep the others from being had. */
export async function liveChecks(
  resources: readonly DeclaredResource[],
  services: LiveServices,
): Promise<readonly Check[]> {
  const { reader } = services;
  const checks: Check[] = [];
  const look = async (what: string, verdict: () => Promise<Verdict>): Promise<void> => {
    checks.push({ what, ...(await verdict().catch(unknown)) });
  };
  // Asked once a subscription, told once a namespace.
  const registrations = new Map<string, Promise<ReadonlyMap<string, string>>>();
  for (const { subscriptionId, namespace } of namespaces(resources)) {
    const asked = registrations.get(subscriptionId) ?? reader.registrations(subscriptionId);
    registrations.set(subscriptionId, asked);
    await look(`${namespace} in ${subscriptionId}`, async () => {
      const state = (await asked).get(namespace.toLowerCase()) ?? 'unknown to the subscription';
      return state === 'Registered' ? ok('registered') : problem(`${state}: az provider register -n ${namespace}`);
    });
  }
  for (const { subscriptionId, location, size, count, cores } of machineDemand(resources)) {
    await look(`${count} × ${size} in ${location}`, async () => {
      const found = await reader.machineSize(subscriptionId, location, size);
      if (found === undefined) return problem(`${location} has no ${size}`);
      if (found.restrictions.length > 0) return problem(`not for this subscription: ${found.restrictions.join(', ')}`);
      const wanted = Number.isInteger(found.cores) ? found.cores * count : cores;
      const usage = (await reader.coreUsage(subscriptionId, location)).get(found.family.toLowerCase());
      if (usage === undefined) return problem(`no quota for ${found.family}`);
      const { used, limit } = usage;
      const says = `${found.family}: ${wanted} cores wanted, ${used} of ${limit} used`;
      // Machines that run already are counted in what is used: those of this deployment too.
      return wanted <= limit - used
        ? ok(says)
        : problem(`${says} (machines of this deployment that run already count as used)`);
    });
  }
  if (needsOrchestrator(resources)) {
    await look('Confidential VM Orchestrator', async () =>
      (await reader.hasServicePrincipal(ORCHESTRATOR_APP_ID))
        ? ok('in the tenant')
        : problem(`not in the tenant: az ad sp create --id ${ORCHESTRATOR_APP_ID}`),
    );
  }
  for (const key of ofType(resources, 'Microsoft.KeyVault/vaults/keys'))
    await keyChecks(key, resources, services, look);
  return checks;
}

/** A release key, first by the control plane, which shows all but the lock, then by its vault where that can be reached. */
async function keyChecks(
  key: DeclaredResource,
  resources: readonly DeclaredResource[],
  { reader, keysOf }: LiveServices,
  look: (what: string, verdict: () => Promise<Verdict>) => Promise<void>,
): Promise<void> {
  const [vault = '', name = ''] = key.name.split('/');
  const declared = declaredPolicy(key);
  if (declared === undefined) return;
  const vaultId = `/subscriptions/${key.subscriptionId}/resourceGroups/${groupOf(key, resources)}/providers/Microsoft.KeyVault/vaults/${vault}`;
  let exists = false;
  await look(`key ${name}`, async () => {
    const live = await reader.vaultKey(vaultId, name);
    if (live === undefined) return ok('not there yet: applying makes it');
    exists = true;
    const operations = Array.isArray(key.values.keyOps) ? key.values.keyOps.map(String) : [];
    const differences = [
      live.enabled ? undefined : 'it is disabled',
      live.exportable ? undefined : 'it is not exportable',
      sameSet(live.keyOps, operations)
        ? undefined
        : `key_ops: found ${live.keyOps.join(', ')}, declared ${operations.join(', ')}`,
      live.policyData !== undefined && isPolicy(live.policyData, declared)
        ? undefined
        : 'its release policy is another one than declared',
    ].filter((difference) => difference !== undefined);
    return differences.length === 0 ? ok('as declared') : problem(differences.join('; '));
  });
  // Keys of disks have a policy too, which the platform judges and nobody locks.
  if (!exists || releasePolicyProblems(declared).length > 0) return;
  await look(`lock of key ${name}`, async () => {
    const keys = await keysOf(`${vault}.vault.azure.net`);
    if (keys === undefined)
      return { state: 'unknown', says: 'only the vault shows it, and it is not reachable from here' };
    const live = await keys.getKey(name);
    if (live === undefined) return problem('the vault has no such key');
    const differences = keyDifferences(name, live, declared);
    if (differences.length > 0) return problem(`not as declared: ${differences.join('; ')}`);
    return live.releasePolicy?.immutable === true ? ok('locked') : problem('not locked: ctrain lock-key');
  });
}

/** The policy in a key's template; `undefined` for a key that is never released, such as one that encrypts a store. */
function declaredPolicy({ values }: DeclaredResource): ReleasePolicy | undefined {
  const { data } = record(values.release_policy);
  return typeof data === 'string' ? decodeReleasePolicy(fromBase64(data)) : undefined;
}

function isPolicy(data: string, declared: ReleasePolicy): boolean {
  try {
    return samePolicy(decodeReleasePolicy(fromBase64(data)), declared);
  } catch (error) {
    if (error instanceof SecureTrainingError) return false;
    throw error;
  }
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return JSON.stringify([...a].sort()) === JSON.stringify([...b].sort());
}

function ok(says: string): Verdict {
  return { state: 'ok', says };
}

function problem(says: string): Verdict {
  return { state: 'problem', says };
}

function unknown(error: unknown): Verdict {
  if (error instanceof SecureTrainingError) return { state: 'unknown', says: error.message };
  throw error;
}
