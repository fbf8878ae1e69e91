import { expect, test } from 'vitest';
import { AttestationService } from '../../constructs/attestation-service.ts';
import { ConfidentialTrainer } from '../../constructs/confidential-trainer.ts';
import { DataStore } from '../../constructs/data-store.ts';
import { LogIngestion } from '../../constructs/log-ingestion.ts';
import { ReleaseKey } from '../../constructs/release-key.ts';
import { ReleaseVault } from '../../constructs/release-vault.ts';
import { PLACE, SUBSCRIPTION, synthesize } from './synthesized.ts';

const providers = '/subscriptions/s/resourceGroups/g/providers';

test('a trainer may be all there is: everything it talks to is brought by id', () => {
  const result = synthesize((stack) => {
    const attestation = AttestationService.fromProviderId(stack, 'Attestation', {
      providerId: `${providers}/Microsoft.Attestation/attestationProviders/attesthub`,
      location: 'westeurope',
      address: '10.1.0.4',
    });
    const vault = ReleaseVault.fromVaultId(stack, 'Vault', `${providers}/Microsoft.KeyVault/vaults/kv-hub`, '10.1.0.6');
    const key = ReleaseKey.fromKeyName(stack, 'Key', vault, 'training-key-1a2b3c4d');
    const storeId = `${providers}/Microsoft.Storage/storageAccounts/sthub`;
    const store = DataStore.fromAccountId(stack, 'Store', storeId, '10.1.0.5');
    const logs = LogIngestion.fromRuleId(stack, 'Logs', {
      resourceId: `${providers}/Microsoft.Insights/dataCollectionRules/dcr-hub`,
      immutableId: 'dcr-0',
      endpoint: 'https://dce-hub.westeurope-1.ingest.monitor.azure.com',
    });
    const trainer = new ConfidentialTrainer(stack, 'Trainer', {
      ...PLACE,
      subnetId: `${providers}/Microsoft.Network/virtualNetworks/v/subnets/trainers`,
      bundle: { sha256: 'a'.repeat(64) },
      attestation,
      logs,
      subscriptionId: SUBSCRIPTION,
    });
    key.grantRelease(trainer);
    store.grantTraining(trainer);
    logs.grantSend(trainer);
  });
  expect(result.addresses.filter((address) => !/role_|Trainer_/.test(address))).toEqual([]);
  const scopes = Object.values(result.all('azurerm_role_assignment')).map(({ scope }) => String(scope));
  expect(scopes.filter((scope) => scope.startsWith(providers)).sort()).toEqual([
    `${providers}/Microsoft.Insights/dataCollectionRules/dcr-hub`,
    `${providers}/Microsoft.KeyVault/vaults/kv-hub/keys/training-key-1a2b3c4d`,
    `${providers}/Microsoft.Storage/storageAccounts/sthub/blobServices/default/containers/datasets`,
    `${providers}/Microsoft.Storage/storageAccounts/sthub/blobServices/default/containers/runs`,
    `${providers}/Microsoft.Storage/storageAccounts/sthub/blobServices/default/containers/trainer`,
  ]);
  const boot = JSON.stringify(result.locals);
  for (const line of [
    '10.1.0.4 attesthub.weu.attest.azure.net',
    '10.1.0.5 sthub.blob.core.windows.net',
    '10.1.0.6 kv-hub.vault.azure.net',
  ]) {
    expect(boot).toContain(`'${line}'`);
  }
});
