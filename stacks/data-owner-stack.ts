import { ResourceGroup } from '@cdktf/provider-azurerm/lib/resource-group/index.js';
import { TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import {
  type ActionGroupReference,
  Alerts,
  AttestationService,
  AuditLog,
  configureProvider,
  nameSuffix,
  ownerAlerts,
  ReleaseKey,
  ReleasePolicy,
  ReleaseVault,
} from '../constructs/index.ts';
import { type DeploymentConfig, environmentPolicy } from './deployment-config.ts';
import { actionGroupOf, addOversight } from './oversight.ts';
import { configureBackend } from './state-backend.ts';

/**
 * What belongs to a data owner alone: the vault, the attestation provider, the release key, and the log of who used them.
 * Its public members are known at synth and hold no reference to its state: other stacks, in other hands, read none of it.
 */
export class DataOwnerStack extends TerraformStack {
  readonly vaultId: string;
  readonly vaultHost: string;
  readonly attestationProviderId: string;
  /** Issuer of the owner's attestation tokens. */
  readonly authority: string;
  readonly keyName: string;
  /** Who is told of what happens to the vault. */
  readonly actionGroup: ActionGroupReference | undefined;

  constructor(scope: Construct, id: string, config: DeploymentConfig) {
    super(scope, id);
    const { owner } = config;
    const keep = config.profile === 'production';
    const tags = { ...config.tags };
    configureBackend(this, config);
    configureProvider(this, { subscriptionId: owner.subscriptionId, tenantId: config.tenantId });
    const suffix = nameSuffix(owner.subscriptionId, owner.resourceGroup);
    const vaultName = `kv-${config.name}-${suffix}`;
    const providerName = `attest${config.name.replaceAll('-', '')}${suffix}`;

    const group = new ResourceGroup(this, 'Group', {
      name: owner.resourceGroup,
      location: config.location,
      tags,
      lifecycle: { preventDestroy: keep },
    });
    const place = { resourceGroupName: group.name, location: config.location, tags };
    const audit = new AuditLog(this, 'Audit', {
      ...place,
      name: `log-${config.name}-owner`,
      retentionDays: owner.logRetentionDays,
      deleteLock: keep,
    });
    this.actionGroup = actionGroupOf(this, config, 'owner', group);
    addOversight(this, config, 'owner', group, this.actionGroup);
    const attestation = new AttestationService(this, 'Attestation', {
      ...place,
      name: providerName,
      audit,
      subscriptionId: owner.subscriptionId,
      policySigningCertificates: owner.policySigningCertificates,
      deleteLock: keep,
    });
    const vault = new ReleaseVault(this, 'Vault', {
      ...place,
      name: vaultName,
      audit,
      tenantId: config.tenantId,
      softDeleteRetentionDays: keep ? 90 : 7,
      preventDestroy: keep,
    });
    const key = new ReleaseKey(this, 'Key', {
      vault,
      policy: ReleasePolicy.confidentialVm({
        attestation,
        environment: environmentPolicy(config),
        ...(owner.attestationPolicyHash === undefined ? {} : { policyHash: owner.attestationPolicyHash }),
      }),
      tags,
    });
    new Alerts(this, 'Alerts', {
      ...place,
      name: `alert-${config.name}-owner`,
      workspaceId: audit.workspaceId,
      resourceGroupId: group.id,
      rules: ownerAlerts({
        releaseTo: owner.releaseTo,
        // Of a network that is brought only its owner knows the addresses.
        networks: config.platform.network === undefined ? [config.platform.addressSpace] : [],
      }),
      ...(this.actionGroup === undefined ? {} : { actionGroup: this.actionGroup }),
    });
    for (const principal of owner.administrators) vault.grantAdminister(principal);
    for (const principal of owner.readers) vault.grantRead(principal);
    for (const principal of owner.releaseTo) key.grantRelease(principal);

    const groupId = `/subscriptions/${owner.subscriptionId}/resourceGroups/${owner.resourceGroup}/providers`;
    this.vaultId = `${groupId}/Microsoft.KeyVault/vaults/${vaultName}`;
    this.attestationProviderId = `${groupId}/Microsoft.Attestation/attestationProviders/${providerName}`;
    this.vaultHost = vault.vaultHost;
    this.authority = attestation.authority;
    this.keyName = key.keyName;
  }
}
