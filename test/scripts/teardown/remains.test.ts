import { describe, expect, test } from 'vitest';
import { synthesize } from '../../../scripts/synthesize.ts';
import { teardownSteps, whatRemains } from '../../../scripts/teardown/remains.ts';
import { GROUP, OWNER, PLATFORM, stack } from '../doctor/stacks.ts';

const template = (type: string, name: string) => ({
  name,
  resource_group_name: 'rg-a',
  template_content: JSON.stringify({ resources: [{ type, name, properties: {} }] }),
});
const DEPLOYMENTS = {
  azurerm_resource_group_template_deployment: {
    Attestation: template('Microsoft.Attestation/attestationProviders', 'attesta'),
    Key: template('Microsoft.KeyVault/vaults/keys', 'kv-a/training-key-aaaaaaaa'),
  },
};
const vault = (change: object = {}) => ({
  azurerm_key_vault: {
    Vault: {
      name: 'kv-a',
      resource_group_name: 'rg-a',
      purge_protection_enabled: true,
      soft_delete_retention_days: 7,
      ...change,
    },
  },
});
const owner = (...more: Parameters<typeof stack>[1][]) =>
  stack('data-owner', Object.assign({}, GROUP, DEPLOYMENTS, vault(), ...more), { subscriptionId: OWNER });

describe('what remains', () => {
  const told = (...stacks: Parameters<typeof whatRemains>[0]) =>
    whatRemains(stacks).map(({ what, until }) => `${what} | ${until}`);

  test('of a data owner: vault and keys by name and days, the provider, what approve granted, the state', () => {
    const azurerm = { key: 'a/data-owner.tfstate', storage_account_name: 'sa', container_name: 'state' };
    const { configuration } = owner();
    expect(
      told({ name: 'data-owner', configuration: { ...configuration, terraform: { backend: { azurerm } } } }),
    ).toEqual([
      'vault kv-a with all its keys (training-key-aaaaaaaa and any before) | 7 days after',
      'attestation provider attesta | it is deleted by hand, a step of its own',
      'role assignments that ctrain approve made on kv-a | the vault is destroyed, or they are deleted by hand',
      'state a/data-owner.tfstate in sa/state | it is deleted by hand',
    ]);
  });

  test.each<[object, string, string]>([
    [{}, '7 days after', 'nobody can purge it before'],
    [{ soft_delete_retention_days: 90 }, '90 days after', 'nobody can purge it before'],
    [{ soft_delete_retention_days: undefined }, '90 days after', 'nobody can purge it before'],
    [{ purge_protection_enabled: false }, '7 days after', 'or until it is purged'],
  ])('of a vault with %j', (change, until, mind) => {
    expect(whatRemains([owner(vault(change))])[0]).toMatchObject({ until, mind: expect.stringContaining(mind) });
  });

  test('of flow logs, which a template made', () => {
    const flows = template('Microsoft.Network/networkWatchers/flowLogs', 'watcher/flow-a');
    const platform = stack('platform', { azurerm_resource_group_template_deployment: { Flows: flows } });
    expect(told(platform)[0]).toBe('flow log watcher/flow-a | it is deleted by hand, or its network is');
  });

  test('of a store and a workspace: the services’ own days, not ours', () => {
    const blob_properties = { delete_retention_policy: { days: 30 } };
    const platform = stack('platform', {
      azurerm_storage_account: { Store: { name: 'sta', blob_properties } },
      azurerm_log_analytics_workspace: { Audit: { name: 'log-a', retention_in_days: 90 } },
    });
    expect(whatRemains([platform])).toMatchObject([
      {
        what: 'storage account sta',
        until: '14 days after',
        mind: expect.stringContaining('the 30 days of soft delete'),
      },
      { what: 'log workspace log-a', until: '14 days after', mind: expect.stringContaining('90 days of retention') },
      { what: expect.stringContaining('state') },
    ]);
  });
});

describe('the order', () => {
  const commands = (...stacks: Parameters<typeof teardownSteps>[1]) =>
    teardownSteps('a', stacks).map(({ does, command }) => command ?? does);

  test('is that of applying, backwards', () => {
    expect(commands(stack('platform', GROUP), stack('training', GROUP))).toEqual([
      'terraform -chdir=rendered/a/training destroy',
      'terraform -chdir=rendered/a/platform destroy',
    ]);
  });

  test('what Terraform would stop at comes first: kept resources, locks, what templates left', () => {
    const kept = owner(vault({ lifecycle: { prevent_destroy: true } }), {
      azurerm_management_lock: { Lock: { name: 'keep', scope: '/x' } },
    });
    expect(commands(kept)).toEqual([
      `sed -i 's/"prevent_destroy": true/"prevent_destroy": false/' rendered/a/data-owner/cdk.tf.json`,
      "terraform -chdir=rendered/a/data-owner destroy -target='azurerm_management_lock.Lock' -target='azurerm_resource_group_template_deployment.Attestation'",
      `az attestation delete --subscription ${OWNER} -g rg-a -n attesta`,
      'terraform -chdir=rendered/a/data-owner destroy',
    ]);
  });

  test('a key that a template made needs no step: it goes with its vault', () => {
    const { azurerm_resource_group_template_deployment: all } = DEPLOYMENTS;
    const keys = stack(
      'o',
      { ...vault(), azurerm_resource_group_template_deployment: { Key: all.Key } },
      { subscriptionId: PLATFORM },
    );
    expect(commands(keys)).toEqual(['terraform -chdir=rendered/a/o destroy']);
  });
});

test('the example: every stack goes, in order, and its vault is named', async () => {
  const stacks = await synthesize('example');
  const destroyed = teardownSteps('example', stacks).flatMap(
    ({ command }) => /example\/(\S+) destroy$/.exec(command ?? '')?.[1] ?? [],
  );
  expect(destroyed).toEqual(['training', 'platform', 'data-owner']);
  expect(whatRemains(stacks)[0]).toMatchObject({ stack: 'data-owner', until: '7 days after' });
});
