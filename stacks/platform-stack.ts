import { ResourceGroup } from '@cdktf/provider-azurerm/lib/resource-group/index.js';
import { TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import {
  type ActionGroupReference,
  Alerts,
  AuditLog,
  type AuditTarget,
  CustomerKey,
  CustomerKeyVault,
  configureProvider,
  DataStore,
  DiskKey,
  type DiskKeyReference,
  FlowLogs,
  LogIngestion,
  nameSuffix,
  OperatorHost,
  type PlacementProps,
  PrivateAccess,
  type PrivateDns,
  PrivateDnsZones,
  type PrivateService,
  platformAlerts,
  TrainerNetwork,
  type TrainerNetworkReference,
} from '../constructs/index.ts';
import type { DataOwnerStack } from './data-owner-stack.ts';
import type { DeploymentConfig } from './deployment-config.ts';
import { actionGroupOf, addOversight } from './oversight.ts';
import { configureBackend } from './state-backend.ts';

/** What stays: network, storage, logs, and the private ways to the owner's vault and attestation provider. */
export class PlatformStack extends TerraformStack {
  readonly network: TrainerNetworkReference;
  readonly store: DataStore;
  readonly logs: LogIngestion;
  /** Host name to address of the owner's vault and attestation provider; the store and the logs tell theirs when they grant a role. */
  readonly hosts: Readonly<Record<string, string>>;
  readonly diskKey: DiskKeyReference | undefined;
  /** Who is told of what happens to storage, network and machines. */
  readonly actionGroup: ActionGroupReference | undefined;

  constructor(scope: Construct, id: string, config: DeploymentConfig, owner: DataOwnerStack) {
    super(scope, id);
    const { platform } = config;
    const keep = config.profile === 'production';
    const tags = { ...config.tags };
    configureBackend(this, config);
    configureProvider(this, { subscriptionId: platform.subscriptionId, tenantId: config.tenantId });
    // Its endpoints lead to the owner's vault and provider, which therefore have to be there.
    this.addDependency(owner);

    const group = new ResourceGroup(this, 'Group', {
      name: platform.resourceGroup,
      location: config.location,
      tags,
      lifecycle: { preventDestroy: keep },
    });
    const place = { resourceGroupName: group.name, location: config.location, tags };
    const audit =
      platform.workspaceId === undefined
        ? new AuditLog(this, 'Audit', {
            ...place,
            name: `log-${config.name}-platform`,
            retentionDays: platform.logRetentionDays,
            deleteLock: keep,
          })
        : AuditLog.fromWorkspaceId(this, 'Audit', platform.workspaceId);
    const network =
      platform.network === undefined
        ? new TrainerNetwork(this, 'Network', {
            ...place,
            name: `vnet-${config.name}`,
            audit,
            addressSpace: platform.addressSpace,
            operatorAddressSpaces: platform.operatorAddressSpaces,
            outbound: platform.outbound,
          })
        : TrainerNetwork.fromSubnetIds(this, 'Network', platform.network);
    const dns = this.#dns(config, network, group.name);
    const access = (service: PrivateService, n: number) => {
      const address = network.endpointAddress(n);
      const shared = { subnetId: network.endpointSubnetId, dns: dns(service) };
      return address === undefined ? shared : { ...shared, address };
    };
    const suffix = nameSuffix(platform.subscriptionId, platform.resourceGroup);
    const compactName = config.name.replaceAll('-', '');
    const keyVault =
      platform.customerKey || asksForDiskKey(platform.diskKey)
        ? this.#keyVault(config, place, audit, suffix)
        : undefined;

    const store = new DataStore(this, 'Store', {
      ...place,
      name: `st${compactName}${suffix}`,
      audit,
      privateAccess: access('blob', 0),
      retentionDays: platform.dataRetentionDays,
      replication: platform.replication,
      preventDestroy: keep,
      ...(keyVault === undefined || !platform.customerKey
        ? {}
        : {
            customerKey: new CustomerKey(this, 'StoreKey', { ...place, vault: keyVault, name: `store-${config.name}` }),
          }),
    });
    for (const principal of platform.uploaders) store.grantUpload(principal);
    for (const principal of platform.publishers) store.grantPublish(principal);
    const approval =
      config.owner.subscriptionId === platform.subscriptionId
        ? {}
        : { approvalRequest: `trainers of ${config.name} ask for attestation and key release` };
    const ownerVault = new PrivateAccess(this, 'OwnerVault', {
      ...place,
      ...approval,
      ...access('vault', 1),
      name: `pe-${config.name}-vault`,
      service: 'vault',
      targetId: owner.vaultId,
    });
    const ownerAttestation = new PrivateAccess(this, 'OwnerAttestation', {
      ...place,
      ...approval,
      ...access('attestation', 2),
      name: `pe-${config.name}-attestation`,
      service: 'attestation',
      targetId: owner.attestationProviderId,
    });
    this.logs = new LogIngestion(this, 'Logs', {
      ...place,
      name: `logs-${config.name}`,
      audit,
      // In a workspace made here they are kept as long as everything else; one that is brought has its own rule.
      ...(platform.workspaceId === undefined ? {} : { retentionDays: platform.logRetentionDays }),
      privateAccess: { subnetId: network.endpointSubnetId, dns: dns('monitor') },
    });
    this.network = network;
    this.store = store;
    this.hosts = {
      [owner.vaultHost]: ownerVault.address,
      [new URL(owner.authority).hostname]: ownerAttestation.address,
    };
    this.diskKey = this.#diskKey(config, place, keyVault);
    if (platform.flowLogs !== undefined) {
      const { retentionDays, networkWatcher } = platform.flowLogs;
      new FlowLogs(this, 'Flows', {
        ...place,
        name: `flow${compactName}${suffix}`,
        virtualNetworkId: network.virtualNetworkId,
        audit,
        retentionDays,
        ...(networkWatcher === undefined
          ? {}
          : { networkWatcher: { name: networkWatcher.name, resourceGroupName: networkWatcher.resourceGroup } }),
      });
    }
    if (platform.operatorHost !== undefined) {
      const { subnetId, users } = platform.operatorHost;
      const host = new OperatorHost(this, 'OperatorHost', { ...place, name: `vm-${config.name}-operator`, subnetId });
      for (const principal of users) host.grantLogin(principal);
    }
    this.actionGroup = actionGroupOf(this, config, 'platform', group);
    addOversight(this, config, 'platform', group, this.actionGroup);
    new Alerts(this, 'Alerts', {
      ...place,
      name: `alert-${config.name}-platform`,
      workspaceId: audit.workspaceId,
      resourceGroupId: group.id,
      rules: platformAlerts({ flowLogs: platform.flowLogs !== undefined }),
      ...(this.actionGroup === undefined ? {} : { actionGroup: this.actionGroup }),
    });
  }

  #keyVault(config: DeploymentConfig, place: PlacementProps, audit: AuditTarget, suffix: string): CustomerKeyVault {
    const keep = config.profile === 'production';
    return new CustomerKeyVault(this, 'KeyVault', {
      ...place,
      name: `kvp-${config.name}-${suffix}`,
      audit,
      tenantId: config.tenantId,
      softDeleteRetentionDays: keep ? 90 : 7,
      preventDestroy: keep,
    });
  }

  #diskKey(config: DeploymentConfig, place: PlacementProps, vault: CustomerKeyVault | undefined) {
    const { diskKey } = config.platform;
    if (diskKey === undefined) return undefined;
    if (!asksForDiskKey(diskKey)) {
      return DiskKey.fromDiskEncryptionSetId(this, 'DiskKey', diskKey.diskEncryptionSetId);
    }
    if (vault === undefined) return undefined;
    const { orchestratorPrincipalId } = diskKey;
    return new DiskKey(this, 'DiskKey', { ...place, name: `des-${config.name}`, vault, orchestratorPrincipalId });
  }

  #dns(
    config: DeploymentConfig,
    network: TrainerNetworkReference,
    resourceGroupName: string,
  ): (service: PrivateService) => PrivateDns {
    const { dns } = config.platform;
    if (dns === 'azure-policy') return () => dns;
    if (dns !== 'create') return (service) => ({ zoneIds: dns[service] });
    const zones = new PrivateDnsZones(this, 'Zones', {
      resourceGroupName,
      virtualNetworkId: network.virtualNetworkId,
      tags: { ...config.tags },
    });
    return () => zones;
  }
}

function asksForDiskKey(
  diskKey: DeploymentConfig['platform']['diskKey'],
): diskKey is { readonly orchestratorPrincipalId: string } {
  return diskKey !== undefined && 'orchestratorPrincipalId' in diskKey;
}
