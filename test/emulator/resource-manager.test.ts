import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RESOURCE_MANAGER_HOST, resourceManager } from '../../emulator/resource-manager.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import {
  deallocateMachine,
  grantRole,
  type MachineState,
  machineState,
  RELEASE_ROLE,
  startMachine,
} from '../../runtime/azure/resource-manager.ts';
import { OPERATOR, SmallAzure, STRANGER } from './small-azure.ts';

const VM = '/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-trainer-0';
const VAULT = '/subscriptions/s/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv';
const azure = new SmallAzure([RESOURCE_MANAGER_HOST]);
const operator = managedIdentity(azure.network, OPERATOR.clientId);
const stranger = managedIdentity(azure.network, STRANGER.clientId);
const machine = {
  state: 'deallocated' as MachineState,
  start: () => {
    machine.state = 'running';
  },
  deallocate: () => {
    machine.state = 'deallocated';
  },
};

beforeAll(async () => {
  await azure.addMetadata();
  const machines = new Map([[VM, machine]]);
  await azure.add({
    service: 'resource-manager',
    hosts: [RESOURCE_MANAGER_HOST],
    handler: resourceManager({ ...azure, machines }),
  });
});
afterAll(() => azure.stop());

test('a machine is started, looked at and deallocated', async () => {
  expect(await machineState(azure.network, operator, VM)).toBe('deallocated');
  await startMachine(azure.network, operator, VM);
  expect(await machineState(azure.network, operator, VM)).toBe('running');
  await deallocateMachine(azure.network, operator, VM);
  expect(await machineState(azure.network, operator, VM)).toBe('deallocated');
});

test('a machine that is not there is CONFIG_INVALID', async () => {
  await expect(startMachine(azure.network, operator, `${VM}9`)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/^start vm-trainer-09: status 404, ResourceNotFound/),
  });
});

test('without a role nothing is done', async () => {
  for (const attempt of [startMachine, deallocateMachine, machineState]) {
    await expect(attempt(azure.network, stranger, VM)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('status 403, AuthorizationFailed'),
    });
  }
  const grant = { scope: VAULT, principalId: STRANGER.principalId, roleId: RELEASE_ROLE };
  await expect(grantRole(azure.network, stranger, grant)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  expect(machine.state).toBe('deallocated');
});

test('a grant holds on its scope and below, nowhere else, and can be made twice', async () => {
  const principalId = randomUUID();
  const release = 'Microsoft.KeyVault/vaults/keys/release/action';
  await grantRole(azure.network, operator, { scope: VAULT, principalId, roleId: RELEASE_ROLE });
  await grantRole(azure.network, operator, { scope: VAULT, principalId, roleId: RELEASE_ROLE });
  expect(azure.roles.allows(principalId, release, `${VAULT}/keys/k`)).toBe(true);
  expect(azure.roles.allows(principalId, release, `${VAULT}2/keys/k`)).toBe(false);
  expect(azure.roles.allows(principalId, 'Microsoft.KeyVault/vaults/keys/read', `${VAULT}/keys/k`)).toBe(false);
});
