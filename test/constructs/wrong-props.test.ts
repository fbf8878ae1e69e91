import type { TerraformStack } from 'cdktf';
import { expect, test } from 'vitest';
import { AttestationService } from '../../constructs/attestation-service.ts';
import { AuditLog } from '../../constructs/audit-log.ts';
import { ConfidentialTrainer } from '../../constructs/confidential-trainer.ts';
import { DataStore } from '../../constructs/data-store.ts';
import { LogIngestion } from '../../constructs/log-ingestion.ts';
import { PrivateAccess } from '../../constructs/private-access.ts';
import { configureProvider } from '../../constructs/provider.ts';
import { ReleaseKey } from '../../constructs/release-key.ts';
import { ReleasePolicy } from '../../constructs/release-policy.ts';
import { ReleaseVault } from '../../constructs/release-vault.ts';
import { TrainerNetwork } from '../../constructs/trainer-network.ts';
import { STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { ACCESS, auditOf, PLACE, SUBSCRIPTION, synthesize, TENANT } from './synthesized.ts';

const policy = ReleasePolicy.confidentialVm({ attestation: { authority: 'https://attestowner.weu.attest.azure.net' } });
const access = { ...PLACE, ...ACCESS, service: 'blob', targetId: '/subscriptions/s/x' } as const;
const trainer = {
  ...PLACE,
  subnetId: '/subscriptions/s/subnets/trainers',
  bundle: { sha256: 'a'.repeat(64), nodeSha256: 'b'.repeat(64) },
  store: { blobEndpoint: 'https://sttest.blob.core.windows.net' },
  logs: { endpoint: 'https://dce', ruleId: 'dcr' },
  hosts: {},
  imageVersion: '24.04.202511010',
  subscriptionId: SUBSCRIPTION,
} as const;

type Change = Readonly<Record<string, unknown>>;
// Props as somebody would write them who does not have the types: a change may be of any type.
const kinds = {
  provider: (stack: TerraformStack, change: Change) =>
    configureProvider(stack, { subscriptionId: SUBSCRIPTION, ...change }),
  audit: (stack: TerraformStack, change: Change) => new AuditLog(stack, 'X', { ...PLACE, ...change }),
  workspace: (stack: TerraformStack, change: Change) =>
    AuditLog.fromWorkspaceId(stack, 'X', String(change.workspaceId)),
  logs: (stack: TerraformStack, change: Change) =>
    new LogIngestion(stack, 'X', { ...PLACE, audit: auditOf(stack), ...change }),
  store: (stack: TerraformStack, change: Change) =>
    new DataStore(stack, 'X', { ...PLACE, privateAccess: ACCESS, audit: auditOf(stack), ...change }),
  access: (stack: TerraformStack, change: Change) => new PrivateAccess(stack, 'X', { ...access, ...change }),
  network: (stack: TerraformStack, change: Change) =>
    new TrainerNetwork(stack, 'X', { ...PLACE, audit: auditOf(stack), ...change }),
  vault: (stack: TerraformStack, change: Change) =>
    new ReleaseVault(stack, 'X', { ...PLACE, tenantId: TENANT, audit: auditOf(stack), ...change }),
  vaultId: (stack: TerraformStack, change: Change) => ReleaseVault.fromVaultId(stack, 'X', String(change.vaultId)),
  key: (stack: TerraformStack, change: Change) => {
    const vault = new ReleaseVault(stack, 'V', { ...PLACE, tenantId: TENANT, audit: auditOf(stack) });
    new ReleaseKey(stack, 'X', { vault, policy, ...change });
  },
  attestation: (stack: TerraformStack, change: Change) =>
    new AttestationService(stack, 'X', { ...PLACE, audit: auditOf(stack), subscriptionId: SUBSCRIPTION, ...change }),
  trainer: (stack: TerraformStack, change: Change) => new ConfidentialTrainer(stack, 'X', { ...trainer, ...change }),
} as const;

test.each(Object.keys(kinds) as (keyof typeof kinds)[])('%s: the good value is good', (kind) => {
  const good = {
    workspace: {
      workspaceId: '/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w',
    },
    vaultId: { vaultId: '/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv-other' },
  };
  expect(() => synthesize((stack) => kinds[kind](stack, good[kind as keyof typeof good] ?? {}))).not.toThrow();
});

test.each([
  ['provider', { subscriptionId: 'mine' }, 'test: subscriptionId must be a lower-case GUID, got "mine"'],
  ['provider', { tenantId: 'ours' }, 'test: tenantId must be a lower-case GUID, got "ours"'],
  ['audit', { retentionDays: 29 }, 'test/X: retentionDays must be a whole number from 30 to 730, got 29'],
  [
    'audit',
    { name: 'log' },
    'test/X: name must be 4 to 63 letters, digits and single hyphens that start with a letter, got "log"',
  ],
  [
    'workspace',
    { workspaceId: 'log-1' },
    'test/X: workspaceId must be the resource id of a Log Analytics workspace, got "log-1"',
  ],
  ['logs', { retentionDays: 731 }, 'test/X: retentionDays must be a whole number from 30 to 730, got 731'],
  ['store', { retentionDays: 0 }, 'test/X: retentionDays must be a whole number from 1 to 365, got 0'],
  ['store', { retentionDays: 1.5 }, 'test/X: retentionDays must be a whole number from 1 to 365, got 1.5'],
  [
    'store',
    { name: 'St-1' },
    'test/X: name must be 3 to 24 lower-case letters and digits that start with a letter, got "St-1"',
  ],
  ['access', { address: '10.0.0' }, 'test/X: address must be an IPv4 address, got "10.0.0"'],
  [
    'access',
    { service: 'monitor', address: '10.0.0.9' },
    'test/X: address must be left out for monitor, got "10.0.0.9"',
  ],
  [
    'network',
    { addressSpace: '10.0.0.0/27' },
    'test/X: addressSpace must be a network from /16 to /26, got "10.0.0.0/27"',
  ],
  [
    'network',
    { addressSpace: '8.8.8.0/24' },
    'test/X: addressSpace must be a private IPv4 network such as 10.60.0.0/24, got "8.8.8.0/24"',
  ],
  [
    'network',
    { operatorAddressSpaces: ['10.60.0.128/25'] },
    'test/X: operatorAddressSpaces must be apart from 10.60.0.0/24, got "10.60.0.128/25"',
  ],
  [
    'vault',
    { name: 'kv--1' },
    'test/X: name must be 3 to 24 letters, digits and single hyphens that start with a letter, got "kv--1"',
  ],
  ['vault', { tenantId: 'ours' }, 'test/X: tenantId must be a lower-case GUID, got "ours"'],
  [
    'vault',
    { softDeleteRetentionDays: 91 },
    'test/X: softDeleteRetentionDays must be a whole number from 7 to 90, got 91',
  ],
  ['vaultId', { vaultId: 'kv-1' }, 'test/X: vaultId must be the resource id of a key vault, got "kv-1"'],
  [
    'key',
    { name: 'training_key' },
    'test/X: name must be 1 to 127 letters, digits and single hyphens that start with a letter, got "training_key-',
  ],
  [
    'key',
    { policy: { version: '1.0.0', anyOf: [] } },
    'test/X: policy must be one that a vault takes, got "policy.anyOf: wanted a list that is not empty"',
  ],
  [
    'key',
    {
      policy: {
        version: '1.0.0',
        anyOf: [
          { authority: 'https://sharedweu.weu.attest.azure.net', allOf: [{ claim: 'secureboot', equals: 'true' }] },
        ],
      },
    },
    "is shared: anybody's machine passes there",
  ],
  ['attestation', { location: 'moon' }, 'test/X: location must be a region with Azure Attestation'],
  [
    'attestation',
    { name: 'attest-1' },
    'test/X: name must be 3 to 24 lower-case letters and digits that start with a letter, got "attest-1"',
  ],
  [
    'attestation',
    { policySigningCertificates: ['AAAA'] },
    'test/X: policySigningCertificates must be base64 DER of X.509 certificates with RSA keys, got "AAAA',
  ],
  [
    'trainer',
    { size: 'Standard_D4as_v5' },
    'test/X: size must be a DCas, DCads, ECas or ECads size of version 5 or 6, got "Standard_D4as_v5"',
  ],
  [
    'trainer',
    { environment: { ...STRICT_ENVIRONMENT, generations: ['Genoa'] } },
    'test/X: size must be on Genoa, which the environment policy accepts, got "Standard_DC4as_v5 (Milan)"',
  ],
  [
    'trainer',
    { bundle: { ...trainer.bundle, sha256: 'A' } },
    'test/X: bundle.sha256 must be 64 lower-case hex digits, got "A"',
  ],
  [
    'trainer',
    { bundle: { ...trainer.bundle, nodeSha256: '' } },
    'test/X: bundle.nodeSha256 must be 64 lower-case hex digits, got ""',
  ],
  [
    'trainer',
    { imageVersion: 'latest' },
    'test/X: imageVersion must be a pinned version such as 24.04.202511010, got "latest"',
  ],
  ['trainer', { count: 0 }, 'test/X: count must be a whole number from 1 to 100, got 0'],
  [
    'trainer',
    { name: 'vm_1' },
    'test/X: name must be 1 to 64 letters, digits and single hyphens that start with a letter, got "vm_1"',
  ],
  ['trainer', { dailyShutdown: '2500' }, 'test/X/Stop: dailyShutdown must be a time of day as HHMM, got "2500"'],
  [
    'trainer',
    { resourceManagerAddress: 'management.azure.com' },
    'test/X: resourceManagerAddress must be an IPv4 address, got "management.azure.com"',
  ],
  [
    'trainer',
    { hosts: { 'st.blob.core.windows.net': "1' x" } },
    'test/X: hosts["st.blob.core.windows.net"] must be an IPv4 address, got "1\' x"',
  ],
] as const)('%s %j', (kind, change, message) => {
  const build = () => synthesize((stack) => kinds[kind](stack, change));
  expect(build).toThrow(RangeError);
  expect(build).toThrow(message);
});
