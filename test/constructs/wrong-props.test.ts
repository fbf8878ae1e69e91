import type { TerraformStack } from 'cdktf';
import { expect, test } from 'vitest';
import { ActionGroup } from '../../constructs/action-group.ts';
import { AttestationService } from '../../constructs/attestation-service.ts';
import { AuditLog } from '../../constructs/audit-log.ts';
import { Budget } from '../../constructs/budget.ts';
import { ConfidentialTrainer } from '../../constructs/confidential-trainer.ts';
import { CustomerKey } from '../../constructs/customer-key.ts';
import { CustomerKeyVault } from '../../constructs/customer-key-vault.ts';
import { DataStore } from '../../constructs/data-store.ts';
import { DiskKey } from '../../constructs/disk-key.ts';
import { FlowLogs } from '../../constructs/flow-logs.ts';
import { LogIngestion } from '../../constructs/log-ingestion.ts';
import { OperatorHost } from '../../constructs/operator-host.ts';
import { PolicyAssignments } from '../../constructs/policy-assignments.ts';
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
const providers = '/subscriptions/s/resourceGroups/g/providers';
const trainer = {
  ...PLACE,
  subnetId: '/subscriptions/s/subnets/trainers',
  bundle: { sha256: 'a'.repeat(64), nodeSha256: 'b'.repeat(64) },
  logs: { endpoint: 'https://dce', ruleId: 'dcr' },
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
  diskKey: (stack: TerraformStack, change: Change) => {
    const vault = new CustomerKeyVault(stack, 'V', { ...PLACE, tenantId: TENANT, audit: auditOf(stack) });
    new DiskKey(stack, 'X', { ...PLACE, vault, orchestratorPrincipalId: TENANT, ...change });
  },
  customerKey: (stack: TerraformStack, change: Change) => {
    const vault = new CustomerKeyVault(stack, 'V', { ...PLACE, tenantId: TENANT, audit: auditOf(stack) });
    new CustomerKey(stack, 'X', { ...PLACE, vault, ...change });
  },
  diskSetId: (stack: TerraformStack, change: Change) =>
    DiskKey.fromDiskEncryptionSetId(
      stack,
      'X',
      String(change.id ?? `${providers}/Microsoft.Compute/diskEncryptionSets/d`),
    ),
  keyUri: (stack: TerraformStack, change: Change) =>
    CustomerKey.fromKeyUri(stack, 'X', String(change.uri ?? 'https://kv.vault.azure.net/keys/k'), '/identity'),
  providerId: (stack: TerraformStack, change: Change) =>
    AttestationService.fromProviderId(stack, 'X', {
      providerId: `${providers}/Microsoft.Attestation/attestationProviders/attesthub`,
      location: 'westeurope',
      ...change,
    }),
  ruleId: (stack: TerraformStack, change: Change) =>
    LogIngestion.fromRuleId(stack, 'X', {
      resourceId: `${providers}/Microsoft.Insights/dataCollectionRules/dcr-hub`,
      immutableId: 'dcr-0',
      endpoint: 'https://dce-hub.westeurope-1.ingest.monitor.azure.com',
      ...change,
    }),
  keyName: (stack: TerraformStack, change: Change) => {
    const vault = ReleaseVault.fromVaultId(stack, 'V', `${providers}/Microsoft.KeyVault/vaults/kv-hub`);
    ReleaseKey.fromKeyName(stack, 'X', vault, String(change.name ?? 'training-key-1a2b3c4d'));
  },
  accountId: (stack: TerraformStack, change: Change) =>
    DataStore.fromAccountId(stack, 'X', String(change.id ?? `${providers}/Microsoft.Storage/storageAccounts/sthub`)),
  subnetIds: (stack: TerraformStack, change: Change) =>
    TrainerNetwork.fromSubnetIds(stack, 'X', {
      trainerSubnetId: `${providers}/Microsoft.Network/virtualNetworks/v/subnets/trainers`,
      endpointSubnetId: `${providers}/Microsoft.Network/virtualNetworks/v/subnets/endpoints`,
      ...change,
    }),
  actionGroup: (stack: TerraformStack, change: Change) =>
    new ActionGroup(stack, 'X', { resourceGroupName: 'rg-test', emails: ['on-call@example.com'], ...change }),
  actionGroupId: (stack: TerraformStack, change: Change) =>
    ActionGroup.fromActionGroupId(stack, 'X', String(change.id ?? `${providers}/Microsoft.Insights/actionGroups/ag`)),
  budget: (stack: TerraformStack, change: Change) =>
    new Budget(stack, 'X', {
      resourceGroupId: '/subscriptions/s/resourceGroups/g',
      monthlyAmount: 1,
      startMonth: '2027-01',
      actionGroup: { actionGroupId: '/ag' },
      ...change,
    }),
  policies: (stack: TerraformStack, change: Change) =>
    new PolicyAssignments(stack, 'X', {
      resourceGroupId: '/subscriptions/s/resourceGroups/g',
      locations: ['westeurope'],
      ...change,
    }),
  flows: (stack: TerraformStack, change: Change) =>
    new FlowLogs(stack, 'X', {
      ...PLACE,
      virtualNetworkId: `${providers}/Microsoft.Network/virtualNetworks/v`,
      audit: auditOf(stack),
      ...change,
    }),
  operatorHost: (stack: TerraformStack, change: Change) =>
    new OperatorHost(stack, 'X', { ...PLACE, subnetId: '/subscriptions/s/subnets/operators', ...change }),
  trainer: (stack: TerraformStack, change: Change) => {
    const made = new ConfidentialTrainer(stack, 'X', { ...trainer, ...change });
    for (const hostName of (change.stores ?? ['stone.blob.core.windows.net']) as string[])
      made.connect({ service: 'blob', hostName });
  },
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
  ['diskKey', { orchestratorPrincipalId: 'me' }, 'test/X: orchestratorPrincipalId must be a lower-case GUID, got "me"'],
  ['diskKey', { name: 'des_1' }, 'test/X: name must be 1 to 80 letters, digits and single hyphens'],
  ['customerKey', { name: 'key_1' }, 'test/X: name must be 1 to 127 letters, digits and single hyphens'],
  [
    'diskSetId',
    { id: 'des' },
    'test/X: diskEncryptionSetId must be the resource id of a disk encryption set, got "des"',
  ],
  [
    'keyUri',
    { uri: 'https://kv.vault.azure.net/keys/k/1' },
    'test/X: keyUri must be an https URI of a key without its version, got "https://kv.vault.azure.net/keys/k/1"',
  ],
  [
    'providerId',
    { providerId: 'attest' },
    'test/X: providerId must be the resource id of an attestation provider, got "attest"',
  ],
  ['providerId', { location: 'moon' }, 'test/X: location must be a region with Azure Attestation'],
  ['ruleId', { resourceId: 'dcr' }, 'test/X: resourceId must be the resource id of a data collection rule, got "dcr"'],
  ['ruleId', { endpoint: 'dce' }, 'test/X: endpoint must be an https origin, got "dce"'],
  [
    'keyName',
    { name: 'training-key' },
    'test/X: keyName must be a name that ends with the digest of a policy, got "training-key"',
  ],
  ['accountId', { id: 'st' }, 'test/X: accountId must be the resource id of a storage account, got "st"'],
  [
    'subnetIds',
    { trainerSubnetId: 'trainers' },
    'test/X: trainerSubnetId must be the resource id of a subnet, got "trainers"',
  ],
  [
    'subnetIds',
    { endpointSubnetId: `${providers}/Microsoft.Network/virtualNetworks/w/subnets/e` },
    'test/X: endpointSubnetId must be in /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v',
  ],
  ['actionGroup', { emails: [] }, 'test/X: emails must be one address or more, got []'],
  ['actionGroup', { emails: ['me'] }, 'test/X: emails must be mail addresses, got "me"'],
  ['actionGroup', { shortName: 'thirteen chars' }, 'test/X: shortName must be 1 to 12 letters and digits'],
  ['actionGroupId', { id: 'ag' }, 'test/X: actionGroupId must be the resource id of an action group, got "ag"'],
  ['budget', { startMonth: '2027-13' }, 'test/X: startMonth must be a month as YYYY-MM, got "2027-13"'],
  ['budget', { monthlyAmount: 0 }, 'test/X: monthlyAmount must be a whole number from 1 to 1000000, got 0'],
  ['policies', { locations: [] }, 'test/X: locations must be one region or more, got []'],
  ['flows', { retentionDays: 30 }, 'test/X: retentionDays must be a whole number from 90 to 365, got 30'],
  [
    'operatorHost',
    { size: 'Standard_B2s' },
    'test/X: size must be a DCas, DCads, ECas or ECads size of version 5 or 6',
  ],
  ['operatorHost', { imageVersion: 'latest' }, 'test/X: imageVersion must be a pinned version'],
  ['operatorHost', { dailyShutdown: '24:00' }, 'test/X: dailyShutdown must be a time of day as HHMM, got "24:00"'],
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
  [
    'trainer',
    { stores: ['stone.blob.core.windows.net', 'sttwo.blob.core.windows.net'] },
    'test/X: store must be one, got ["stone.blob.core.windows.net","sttwo.blob.core.windows.net"]',
  ],
  ['trainer', { stores: [] }, 'test/X: store must be connected by store.grantTraining(trainer), got undefined'],
  ['trainer', { logs: undefined }, 'test/X: audit must be given where logs are not, got undefined'],
  [
    'trainer',
    { diskKey: { diskEncryptionSetId: 'd', location: 'northeurope', dependencies: [] } },
    'test/X: diskKey must be in westeurope, as the machines are, got "northeurope"',
  ],
  [
    'trainer',
    { imageVersion: '22.04.202511010' },
    'test/X: imageVersion must be a pinned version such as 24.04.202511010, got "22.04.202511010"',
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
