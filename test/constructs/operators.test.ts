import { expect, test } from 'vitest';
import { ConfidentialTrainer } from '../../constructs/confidential-trainer.ts';
import { OperatorHost } from '../../constructs/operator-host.ts';
import { PLACE, SUBSCRIPTION, synthesize } from './synthesized.ts';

const OPERATORS = '44444444-4444-4444-8444-444444444444';

test('an operator host has Entra login, no public address, and an identity without any role', () => {
  const result = synthesize((stack) => {
    new OperatorHost(stack, 'Host', { ...PLACE, subnetId: '/subscriptions/s/subnets/operators' }).grantLogin(OPERATORS);
  });
  expect(result.one('azurerm_linux_virtual_machine')).toMatchObject({
    secure_boot_enabled: true,
    vtpm_enabled: true,
    disable_password_authentication: true,
    os_disk: { security_encryption_type: 'DiskWithVMGuestState' },
  });
  expect(result.one('azurerm_virtual_machine_extension')).toMatchObject({
    publisher: 'Microsoft.Azure.ActiveDirectory',
    type: 'AADSSHLoginForLinux',
  });
  expect(result.one('azurerm_role_assignment')).toMatchObject({
    principal_id: OPERATORS,
    role_definition_name: 'Virtual Machine User Login',
  });
  expect(result.addresses.filter((address) => /public_ip|bastion/.test(address))).toEqual([]);
  expect(result.one('azurerm_dev_test_global_vm_shutdown_schedule').daily_recurrence_time).toBe('2000');
});

test('operators of trainers start them, switch them off and read their console; one role for all of them', () => {
  const result = synthesize((stack) => {
    const trainer = new ConfidentialTrainer(stack, 'Trainer', {
      ...PLACE,
      subnetId: '/subscriptions/s/subnets/trainers',
      bundle: { sha256: 'a'.repeat(64) },
      logs: { endpoint: 'https://dce', ruleId: 'dcr' },
      count: 2,
      subscriptionId: SUBSCRIPTION,
    });
    trainer.connect({ service: 'blob', hostName: 'st.blob.core.windows.net' });
    trainer.grantOperate(OPERATORS);
    trainer.grantOperate('55555555-5555-4555-8555-555555555555');
  });
  const roles = Object.values(result.all('azurerm_role_definition')).filter(({ name }) =>
    String(name).startsWith('Trainer operation'),
  );
  expect(roles.map(({ permissions }) => permissions)).toEqual([
    [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/read',
          'Microsoft.Compute/virtualMachines/instanceView/read',
          'Microsoft.Compute/virtualMachines/start/action',
          'Microsoft.Compute/virtualMachines/deallocate/action',
          'Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action',
        ],
      },
    ],
  ]);
  const grants = Object.values(result.all('azurerm_role_assignment')).filter(({ principal_id }) =>
    /^(4444|5555)/.test(String(principal_id)),
  );
  expect(grants).toHaveLength(4);
  for (const { scope } of grants) expect(scope).toMatch(/^\$\{azurerm_linux_virtual_machine\./);
});
