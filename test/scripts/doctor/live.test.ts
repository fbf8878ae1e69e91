import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { HttpFailure, jsonHandler } from '../../../emulator/json-http.ts';
import { managedIdentity } from '../../../runtime/azure/identity.ts';
import { subscriptionReader } from '../../../runtime/azure/subscription.ts';
import { toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { buildReleasePolicy, policyKeyName, releasePolicyBytes } from '../../../runtime/keys/release-policy.ts';
import { type LiveServices, liveChecks } from '../../../scripts/doctor/live.ts';
import { declaredResources } from '../../../scripts/doctor/resources.ts';
import { OPERATOR, SmallAzure } from '../../emulator/small-azure.ts';
import { GROUP, keyDeployment, machines, PLATFORM, stack } from './stacks.ts';

const MANAGEMENT = 'management.azure.com';
const GRAPH = 'graph.microsoft.com';
const azure = new SmallAzure([MANAGEMENT, GRAPH]);
const policy = buildReleasePolicy({ authority: 'https://attestowner.weu.attest.azure.net' });
const other = buildReleasePolicy({ authority: 'https://attestevil.weu.attest.azure.net' });
const KEY = policyKeyName('training-key', policy);
const resources = declaredResources([
  stack('a', {
    ...GROUP,
    ...machines(2),
    ...keyDeployment(KEY, releasePolicyBytes(policy)),
    azurerm_disk_encryption_set: { Disk: { encryption_type: 'ConfidentialVmEncryptedWithCustomerKey' } },
  }),
]);
const SUBSCRIPTION = `/subscriptions/${PLATFORM}`;
const KEY_PATH = `${SUBSCRIPTION}/resourceGroups/rg-a/providers/Microsoft.KeyVault/vaults/kv-a/keys/${KEY}`;
const FAMILY = 'standardDCASv5Family';
const registered = (namespace: string) => ({ namespace, registrationState: 'Registered' });
const size = {
  resourceType: 'virtualMachines',
  name: 'Standard_DC4as_v5',
  family: FAMILY,
  capabilities: [{ name: 'vCPUs', value: '4' }],
  restrictions: [],
};
const usage = { name: { value: FAMILY }, currentValue: 0, limit: 8 };
const controlPlaneKey = (change: object = {}) => ({
  properties: {
    keyOps: ['wrapKey'],
    attributes: { enabled: true, exportable: true },
    release_policy: { data: Buffer.from(releasePolicyBytes(policy)).toString('base64') },
    ...change,
  },
});
const vaultKey = {
  kid: `https://kv-a.vault.azure.net/keys/${KEY}/1`,
  version: '1',
  keyType: 'RSA-HSM',
  jwk: { kty: 'RSA', n: 'AQ', e: 'AQAB' },
  keyOps: ['wrapKey'],
  exportable: true,
  enabled: true,
  releasePolicy: { data: releasePolicyBytes(policy), immutable: true },
} as const;

/** Replies by path; what is not there is 404, as a resource is. */
let replies: Record<string, object>;
const asked: string[] = [];

beforeAll(async () => {
  await azure.addMetadata();
  for (const host of [MANAGEMENT, GRAPH]) {
    const handler = jsonHandler(async ({ path, authorization, query }) => {
      asked.push(`${host}${path}`);
      if (azure.issuer.authenticate(authorization, `https://${host}`) === undefined)
        throw new Error(`no token for ${host}`);
      const page = query.get('page');
      const reply = replies[page === null ? path : `${path}?page=${page}`];
      if (reply === undefined) throw new HttpFailure(404, 'ResourceNotFound', `no ${path}`);
      return reply;
    });
    await azure.add({ service: 'resource-manager', hosts: [host], handler });
  }
});
beforeEach(() => {
  asked.length = 0;
  replies = {
    [`${SUBSCRIPTION}/providers`]: {
      value: [registered('Microsoft.Compute')],
      nextLink: `https://${MANAGEMENT}${SUBSCRIPTION}/providers?api-version=2021-04-01&page=2`,
    },
    [`${SUBSCRIPTION}/providers?page=2`]: { value: [registered('microsoft.keyvault')] },
    [`${SUBSCRIPTION}/providers/Microsoft.Compute/skus`]: { value: [{ ...size, resourceType: 'disks' }, size] },
    [`${SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/usages`]: { value: [usage] },
    '/v1.0/servicePrincipals': { value: [{ id: 'x' }] },
    [KEY_PATH]: controlPlaneKey(),
  };
});
afterAll(() => azure.stop());

async function checks(keysOf: LiveServices['keysOf'] = async () => ({ getKey: async () => vaultKey })) {
  const reader = subscriptionReader(azure.network, managedIdentity(azure.network, OPERATOR.clientId));
  return liveChecks(resources, { reader, keysOf });
}

test('everything as it should be', async () => {
  expect(await checks()).toEqual([
    { what: `Microsoft.Compute in ${PLATFORM}`, state: 'ok', says: 'registered' },
    { what: `Microsoft.KeyVault in ${PLATFORM}`, state: 'ok', says: 'registered' },
    { what: '2 × Standard_DC4as_v5 in westeurope', state: 'ok', says: `${FAMILY}: 8 cores wanted, 0 of 8 used` },
    { what: 'Confidential VM Orchestrator', state: 'ok', says: 'in the tenant' },
    { what: `key ${KEY}`, state: 'ok', says: 'as declared' },
    { what: `lock of key ${KEY}`, state: 'ok', says: 'locked' },
  ]);
  // Two pages, once, though two namespaces are asked about.
  expect(asked.filter((path) => path === `${MANAGEMENT}${SUBSCRIPTION}/providers`)).toHaveLength(2);
});

const providers = `${SUBSCRIPTION}/providers`;
const skus = `${SUBSCRIPTION}/providers/Microsoft.Compute/skus`;
const usages = `${SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/usages`;

test.each<[string, string, object, string]>([
  [
    'a provider that is not registered',
    providers,
    {
      value: [{ namespace: 'Microsoft.Compute', registrationState: 'NotRegistered' }, registered('Microsoft.KeyVault')],
    },
    'NotRegistered: az provider register -n Microsoft.Compute',
  ],
  ['a size the region lacks', skus, { value: [] }, 'westeurope has no Standard_DC4as_v5'],
  [
    'a size kept from the subscription',
    skus,
    { value: [{ ...size, restrictions: [{ type: 'Location', reasonCode: 'NotAvailableForSubscription' }] }] },
    'not for this subscription: NotAvailableForSubscription',
  ],
  ['a family without quota', usages, { value: [] }, `no quota for ${FAMILY}`],
  ['too small a quota', usages, { value: [{ ...usage, currentValue: 1 }] }, `${FAMILY}: 8 cores wanted, 1 of 8 used`],
  ['no orchestrator', '/v1.0/servicePrincipals', { value: [] }, 'not in the tenant'],
  [
    'a key with more operations',
    KEY_PATH,
    controlPlaneKey({ keyOps: ['wrapKey', 'unwrapKey'] }),
    'key_ops: found wrapKey, unwrapKey, declared wrapKey',
  ],
  [
    'a key that is disabled',
    KEY_PATH,
    controlPlaneKey({ attributes: { enabled: false, exportable: true } }),
    'it is disabled',
  ],
  ['a key that never leaves', KEY_PATH, controlPlaneKey({ attributes: { enabled: true } }), 'it is not exportable'],
  [
    'a key of another policy',
    KEY_PATH,
    controlPlaneKey({ release_policy: { data: toBase64Url(releasePolicyBytes(other)) } }),
    'its release policy is another one than declared',
  ],
  [
    'a key whose policy nobody can read',
    KEY_PATH,
    controlPlaneKey({ release_policy: { data: 'e30' } }),
    'its release policy is another one than declared',
  ],
])('%s is a problem, and the only one', async (_, path, reply, says) => {
  replies[path] = reply;
  const problems = (await checks()).filter(({ state }) => state !== 'ok');
  expect(problems).toEqual([expect.objectContaining({ state: 'problem', says: expect.stringContaining(says) })]);
});

test('a key that is not there yet is fine, and its lock is not asked for', async () => {
  delete replies[KEY_PATH];
  const found = await checks(() => Promise.reject(new Error('not to be asked')));
  expect(found.at(-1)).toEqual({ what: `key ${KEY}`, state: 'ok', says: 'not there yet: applying makes it' });
});

test.each<[string, LiveServices['keysOf'], string, string]>([
  [
    'not locked',
    async () => ({
      getKey: async () => ({ ...vaultKey, releasePolicy: { ...vaultKey.releasePolicy, immutable: false } }),
    }),
    'problem',
    'not locked: ctrain lock-key',
  ],
  [
    'locked wrong',
    async () => ({
      getKey: async () => ({ ...vaultKey, releasePolicy: { data: releasePolicyBytes(other), immutable: true } }),
    }),
    'problem',
    'not as declared: its release policy is ',
  ],
  ['out of reach', async () => undefined, 'unknown', 'not reachable from here'],
])('a lock that is %s is told', async (_, keysOf, state, says) => {
  expect((await checks(keysOf)).at(-1)).toMatchObject({
    what: `lock of key ${KEY}`,
    state,
    says: expect.stringContaining(says),
  });
});

test('a key of another kind of policy, such as a disk has, is compared and needs no lock', async () => {
  const disk = utf8(
    JSON.stringify({
      version: '1.0.0',
      anyOf: [
        {
          authority: 'https://sharedweu.weu.attest.azure.net',
          allOf: [{ claim: 'x-ms-compliance-status', equals: 'azure-compliant-cvm' }],
        },
      ],
    }),
  );
  const own = declaredResources([stack('a', { ...GROUP, ...keyDeployment(KEY, disk) })]);
  replies[KEY_PATH] = controlPlaneKey({ release_policy: { data: toBase64Url(disk) } });
  const reader = subscriptionReader(azure.network, managedIdentity(azure.network, OPERATOR.clientId));
  const found = await liveChecks(own, { reader, keysOf: () => Promise.reject(new Error('not to be asked')) });
  expect(found.at(-1)).toEqual({ what: `key ${KEY}`, state: 'ok', says: 'as declared' });
});

test('what cannot be looked at is unknown, and the rest is looked at', async () => {
  await azure.faults.set('resource-manager', { kind: 'status', status: 403, count: 1 });
  const found = await checks();
  expect(found.map(({ state }) => state)).toEqual(['unknown', 'unknown', 'ok', 'ok', 'ok', 'ok']);
  expect(found[0]?.says).toContain('403');
});

test('a page elsewhere is not followed: the token stays with whom it is for', async () => {
  replies[providers] = {
    value: [registered('Microsoft.Compute'), registered('Microsoft.KeyVault')],
    nextLink: 'https://graph.microsoft.com/v1.0/servicePrincipals',
  };
  await checks();
  expect(asked.filter((path) => path.startsWith(GRAPH))).toHaveLength(1);
});
