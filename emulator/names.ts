/** Names of an emulated deployment: shaped like those the stacks make, unique by one suffix. */
export interface PlaceNames {
  readonly resourceGroup: string;
  readonly vaultHost: string;
  readonly vaultId: string;
  readonly attestationHost: string;
  /** Issuer of attestation tokens. */
  readonly attestationAuthority: string;
  readonly storageAccount: string;
  readonly storageId: string;
  readonly storageHost: string;
  readonly logsHost: string;
  /** Immutable id of the data collection rule. */
  readonly ruleId: string;
  readonly ruleResourceId: string;
  readonly machineId: string;
}

/** @param suffix eight hex digits */
export function placeNames(subscriptionId: string, suffix: string): PlaceNames {
  const resourceGroup = `rg-training-${suffix}`;
  const group = `/subscriptions/${subscriptionId}/resourceGroups/${resourceGroup}/providers`;
  const [vault, attestation, account] = [`kv-owner-${suffix}`, `attowner${suffix}`, `sttraining${suffix}`];
  const attestationHost = `${attestation}.weu.attest.azure.net`;
  return {
    resourceGroup,
    vaultHost: `${vault}.vault.azure.net`,
    vaultId: `${group}/Microsoft.KeyVault/vaults/${vault}`,
    attestationHost,
    attestationAuthority: `https://${attestationHost}`,
    storageAccount: account,
    storageId: `${group}/Microsoft.Storage/storageAccounts/${account}`,
    storageHost: `${account}.blob.core.windows.net`,
    logsHost: `dce-training-${suffix}.westeurope-1.ingest.monitor.azure.com`,
    ruleId: `dcr-${suffix.repeat(4)}`,
    ruleResourceId: `${group}/Microsoft.Insights/dataCollectionRules/dcr-training-${suffix}`,
    machineId: `${group}/Microsoft.Compute/virtualMachines/vm-trainer-0`,
  };
}
