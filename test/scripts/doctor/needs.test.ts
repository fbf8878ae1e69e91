import { describe, expect, test } from 'vitest';
import { costDrivers } from '../../../scripts/doctor/costs.ts';
import { prerequisites, roleNeeds } from '../../../scripts/doctor/needs.ts';
import { declaredResources } from '../../../scripts/doctor/resources.ts';
import { synthesize } from '../../../scripts/synthesize.ts';
import { GROUP, keyDeployment, machines, PLATFORM, stack } from './stacks.ts';

const SCOPE = `/subscriptions/${PLATFORM}`;
const roles = (...args: Parameters<typeof stack>) =>
  roleNeeds([stack(...args)]).map(({ role, scope }) => `${role} ${scope}`);

describe('roles', () => {
  test('whoever makes resources contributes', () => {
    expect(roleNeeds([stack('a', { ...GROUP, azurerm_virtual_network: { Net: {} } })])).toEqual([
      {
        stack: 'a',
        role: 'Contributor',
        scope: SCOPE,
        because: 'makes its resource group and manages Microsoft.Network, Microsoft.Resources',
      },
    ]);
  });

  test.each([
    ['azurerm_role_assignment', 'Role Based Access Control Administrator'],
    ['azurerm_management_lock', 'User Access Administrator'],
    ['azurerm_role_definition', 'User Access Administrator'],
    ['azurerm_resource_group_policy_assignment', 'Resource Policy Contributor'],
  ])('%s takes %s', (type, role) => {
    expect(roles('a', { ...GROUP, [type]: { This: {} } })).toEqual([`Contributor ${SCOPE}`, `${role} ${SCOPE}`]);
  });

  test('state in a storage account takes a role there', () => {
    const azurerm = { subscription_id: 's', resource_group_name: 'rg', storage_account_name: 'sa' };
    expect(roles('a', GROUP, { backend: { azurerm } })).toContain(
      'Storage Blob Data Contributor /subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/sa',
    );
  });
});

describe('prerequisites', () => {
  const wanted = (...args: Parameters<typeof stack>) => prerequisites([stack(...args)]).map(({ what }) => what);

  test('registrations come from what is made, inside templates too', () => {
    expect(wanted('a', { ...GROUP, ...keyDeployment('k', new Uint8Array()) })).toEqual([
      `Microsoft.KeyVault registered in ${PLATFORM}`,
    ]);
  });

  test('machines of a size are one quota', () => {
    expect(wanted('a', machines(3))).toContain(
      'quota for 12 cores in the family of Standard_DC4as_v5 (3 machines) in westeurope',
    );
  });

  test('the orchestrator is needed for confidential disks with a key of one’s own, and only then', () => {
    const set = (encryption_type: string) => ({ azurerm_disk_encryption_set: { Disk: { encryption_type } } });
    const isOrchestrator = (what: string) => what.includes('Confidential VM Orchestrator');
    expect(wanted('a', set('ConfidentialVmEncryptedWithCustomerKey')).some(isOrchestrator)).toBe(true);
    expect(wanted('a', set('EncryptionAtRestWithCustomerKey')).some(isOrchestrator)).toBe(false);
  });
});

test('what is billed is counted, and nothing else', () => {
  const one = stack('a', {
    ...GROUP,
    ...machines(2),
    ...keyDeployment('k', new Uint8Array()),
    azurerm_private_endpoint: { A: {}, B: {} },
  });
  expect(costDrivers(declaredResources([one])).map(({ count, what }) => `${count} ${what}`)).toEqual([
    '2 virtual machines with a premium disk',
    '1 HSM-protected keys',
    '2 private endpoints',
  ]);
});

test('every type of the example is known: a new one needs its row', async () => {
  const resources = declaredResources(await synthesize('example'));
  expect(resources.filter(({ azureType }) => azureType === undefined)).toEqual([]);
  expect(resources.length).toBeGreaterThan(40);
});
