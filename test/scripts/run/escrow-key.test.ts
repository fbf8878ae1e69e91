import { expect, test } from 'vitest';
import { platformVaultHosts } from '../../../scripts/run/escrow-key.ts';

const vault = (subscription: string, group: string, name: string) =>
  `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.KeyVault/vaults/${name}`;
const PLATFORM = '11111111-2222-4333-8444-555555555555';
const OWNER = '99999999-2222-4333-8444-555555555555';
const VAULTS = [vault(PLATFORM, 'rg-training', 'KV-disk'), vault(PLATFORM, 'rg-other', 'kv-other')];
const place = (ownerSubscription: string) => ({
  subscriptionId: PLATFORM,
  resourceGroup: 'RG-training',
  owner: {
    vaultHost: 'kv-owner.vault.azure.net',
    vaultId: vault(ownerSubscription, 'rg-owner', 'kv-owner'),
    keyNames: [],
    attestationAuthority: 'https://a.weu.attest.azure.net',
  },
});

test.each([
  ['all of the platform’s subscription', OWNER, ['kv-disk.vault.azure.net', 'kv-other.vault.azure.net']],
  ['its resource group alone where the owner shares the subscription', PLATFORM, ['kv-disk.vault.azure.net']],
])('vaults of the platform are those of %s', async (_, subscription, wanted) => {
  expect(await platformVaultHosts('kv-mine.vault.azure.net', place(subscription), async () => VAULTS)).toEqual(wanted);
});

test('nobody is asked about the deployment’s own vault', async () => {
  const asked = async () => Promise.reject(new Error('asked'));
  expect(await platformVaultHosts('kv-owner.vault.azure.net', place(OWNER), asked)).toEqual([]);
});
