import { createHash } from 'node:crypto';
import { TerraformStack } from 'cdktf';
import { expect, test } from 'vitest';
import { cloudConfig } from '../../constructs/boot.ts';
import { ConfidentialTrainer, type ConfidentialTrainerProps } from '../../constructs/confidential-trainer.ts';
import { NOBODYS_KEY } from '../../constructs/machine.ts';
import { generationOf } from '../../constructs/vm-sizes.ts';
import { TRAINER_FLAGS } from '../../runtime/catalogue.ts';
import { parseMachineConfig } from '../../runtime/machine-config.ts';
import { PLACE, SUBSCRIPTION, synthesize, testApp } from './synthesized.ts';

const sha256 = createHash('sha256').update('bundle').digest('hex');
const nodeSha256 = createHash('sha256').update('node').digest('hex');
const logs = { endpoint: 'https://dce-test.westeurope-1.ingest.monitor.azure.com', ruleId: 'dcr-1' };
const blob = { service: 'blob', hostName: 'sttest.blob.core.windows.net', address: '10.9.0.254' } as const;
const props: ConfidentialTrainerProps = {
  ...PLACE,
  name: 'vm-test',
  subnetId: '/subscriptions/s/subnets/trainers',
  bundle: { sha256, nodeSha256 },
  logs,
  subscriptionId: SUBSCRIPTION,
};
const make = (change: Partial<ConfidentialTrainerProps> = {}) =>
  synthesize((stack) => {
    new ConfidentialTrainer(stack, 'Trainer', { ...props, ...change }).connect(blob);
  });
const boot = {
  vmResourceId: '/subscriptions/s/vm',
  identityClientId: 'client',
  blobEndpoint: 'https://sttest.blob.core.windows.net',
  bundleSha256: sha256,
  nodeSha256,
  logs,
  hosts: { [blob.hostName]: blob.address },
};

/** Content of a file that cloud-init writes. */
function written(path: string): string {
  const files = cloudConfig(boot).write_files as readonly { readonly path: string; readonly content: string }[];
  return files.find((file) => file.path === path)?.content ?? '';
}

test('is confidential: secure boot, vTPM, disk encrypted to the machine', () => {
  const vm = make().one('azurerm_linux_virtual_machine');
  expect(vm).toMatchObject({
    size: 'Standard_DC4as_v5',
    secure_boot_enabled: true,
    vtpm_enabled: true,
    os_disk: { security_encryption_type: 'DiskWithVMGuestState' },
    encryption_at_host_enabled: false,
    additional_capabilities: { hibernation_enabled: false, ultra_ssd_enabled: false },
  });
});

test('nobody enters: no public address, extension, agent or password', () => {
  const result = make();
  expect(result.one('azurerm_linux_virtual_machine')).toMatchObject({
    allow_extension_operations: false,
    provision_vm_agent: false,
    disable_password_authentication: true,
    admin_ssh_key: [{ public_key: NOBODYS_KEY }],
  });
  expect(JSON.stringify(result.one('azurerm_network_interface'))).not.toContain('public_ip_address_id":"');
  expect(result.addresses.filter((address) => /extension|public_ip|run_command/.test(address))).toEqual([]);
});

test('it speaks: boot diagnostics are on', () => {
  expect(make().one('azurerm_linux_virtual_machine').boot_diagnostics).toEqual({});
});

test('it can switch itself off and do nothing else to itself; a schedule stands behind it', () => {
  const result = make();
  expect(result.one('azurerm_role_definition').permissions).toEqual([
    {
      actions: [
        'Microsoft.Compute/virtualMachines/read',
        'Microsoft.Compute/virtualMachines/instanceView/read',
        'Microsoft.Compute/virtualMachines/deallocate/action',
      ],
    },
  ]);
  expect(result.one('azurerm_role_assignment').scope).toMatch(/^\$\{azurerm_linux_virtual_machine\..+\.id\}$/);
  expect(result.one('azurerm_dev_test_global_vm_shutdown_schedule')).toMatchObject({
    daily_recurrence_time: '0400',
    timezone: 'UTC',
  });
});

test('a fleet has machines, cards, schedules and role assignments in step', () => {
  const result = make({ count: 3 });
  for (const type of [
    'linux_virtual_machine',
    'network_interface',
    'dev_test_global_vm_shutdown_schedule',
    'role_assignment',
  ]) {
    expect(Object.keys(result.all(`azurerm_${type}`))).toHaveLength(3);
  }
});

test('a first machine keeps its address when the fleet grows', () => {
  const [first = ''] = Object.keys(make().all('azurerm_linux_virtual_machine'));
  expect(Object.keys(make({ count: 2 }).all('azurerm_linux_virtual_machine'))).toContain(first);
});

test('Milan is told at synth, Genoa is not', () => {
  const warnings = (size: ConfidentialTrainerProps['size']) => {
    const stack = new TerraformStack(testApp(), 'test');
    const trainer = new ConfidentialTrainer(stack, 'Trainer', { ...props, ...(size === undefined ? {} : { size }) });
    return trainer.node.metadata.map(({ data }) => String(data));
  };
  expect(warnings('Standard_DC8as_v5')).toEqual([expect.stringContaining('Standard_DC8as_v6 runs on Genoa')]);
  expect(warnings('Standard_DC8as_v6')).toEqual([]);
});

test.each([
  ['Standard_DC4as_v5', 'Milan'],
  ['Standard_EC20ads_v5', 'Milan'],
  ['Standard_DC96as_v6', 'Genoa'],
  ['Standard_DC20as_v5', undefined],
  ['Standard_DC4s_v3', undefined],
  ['Standard_DC4es_v5', undefined],
  ['Standard_D4as_v5', undefined],
])('%s: %s', (size, generation) => expect(generationOf(size)).toBe(generation));

test('the boot fetches bundle and Node by digest and refuses any other', () => {
  const script = written('/usr/local/sbin/ctrain-fetch');
  expect(script).toContain(`fetch ${sha256} trainer.tar`);
  expect(script).toContain(`fetch ${nodeSha256} node`);
  expect(script).toContain('sha256sum --check');
});

test('the machine configuration is one that the trainer reads', () => {
  expect(parseMachineConfig(written('/etc/ctrain/machine.json'))).toMatchObject({
    vmResourceId: boot.vmResourceId,
    bundleSha256: sha256,
  });
});

test('the unit starts Node with the flags that the trainer demands', () => {
  expect(written('/etc/systemd/system/ctrain.service')).toContain(TRAINER_FLAGS.join(' '));
});

test('names come from the host file, other doors are masked', () => {
  const commands = JSON.stringify(cloudConfig(boot).runcmd);
  for (const wanted of [
    '10.9.0.254 sttest.blob.core.windows.net',
    'ssh.service',
    'walinuxagent.service',
    'cloud-init.disabled',
  ]) {
    expect(commands).toContain(wanted);
  }
});

test('nothing in the boot is an expression to Terraform', () => {
  expect(JSON.stringify(cloudConfig(boot))).not.toMatch(/[$%]\{/);
});

// Ed25519 (RFC 8032 5.1.3): whether the hash is the encoding of a point. Whoever wants its private half has to solve for it.
test('the SSH key is a point found by hashing a sentence', () => {
  const P = 2n ** 255n - 19n;
  const power = (base: bigint, exponent: bigint): bigint => {
    let [result, square] = [1n, base % P];
    for (let e = exponent; e > 0n; e >>= 1n) {
      if (e & 1n) result = (result * square) % P;
      square = (square * square) % P;
    }
    return result;
  };
  const invert = (value: bigint) => power(value, P - 2n);
  const d = ((P - 121665n) * invert(121666n)) % P;
  const isPoint = (encoding: Buffer): boolean => {
    const y = BigInt(`0x${Buffer.from(encoding).reverse().toString('hex')}`) & (2n ** 255n - 1n);
    const x2 = (y * y - 1n + P) * invert(d * y * y + 1n);
    return y < P && power(x2, (P - 1n) / 2n) === 1n;
  };
  const hashes = Array.from({ length: 64 }, (_, i) =>
    createHash('sha256').update(`confidential-training: nobody holds the private half of this key ${i}`).digest(),
  );
  const point = hashes.find(isPoint) ?? Buffer.alloc(0);
  const part = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  const blob = Buffer.concat([part(Buffer.from('ssh-ed25519')), part(point)]);
  expect(NOBODYS_KEY).toBe(`ssh-ed25519 ${blob.toString('base64')}`);
});
