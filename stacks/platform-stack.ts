import { ResourceGroup } from '@cdktf/provider-azurerm/lib/resource-group/index.js';
import { TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import {
  AuditLog,
  configureProvider,
  DataStore,
  LogIngestion,
  nameSuffix,
  PrivateAccess,
  type PrivateDns,
  PrivateDnsZones,
  type PrivateService,
  TrainerNetwork,
} from '../constructs/index.ts';
import type { DataOwnerStack } from './data-owner-stack.ts';
import type { DeploymentConfig } from './deployment-config.ts';
import { configureBackend } from './state-backend.ts';

/** What stays: network, storage, logs, and the private ways to the owner's vault and attestation provider. */
export class PlatformStack extends TerraformStack {
  readonly network: TrainerNetwork;
  readonly store: DataStore;
  readonly logs: LogIngestion;
  /** Host name to fixed address of every endpoint that trainers use. */
  readonly hosts: Readonly<Record<string, string>>;

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
          })
        : AuditLog.fromWorkspaceId(this, 'Audit', platform.workspaceId);
    const network = new TrainerNetwork(this, 'Network', {
      ...place,
      name: `vnet-${config.name}`,
      audit,
      addressSpace: platform.addressSpace,
      operatorAddressSpaces: platform.operatorAddressSpaces,
    });
    const dns = this.#dns(config, network, group.name);
    const access = (service: PrivateService, n: number) => ({
      subnetId: network.endpointSubnetId,
      dns: dns(service),
      address: network.endpointAddress(n),
    });

    const store = new DataStore(this, 'Store', {
      ...place,
      name: `st${config.name.replaceAll('-', '')}${nameSuffix(platform.subscriptionId, platform.resourceGroup)}`,
      audit,
      privateAccess: access('blob', 0),
      retentionDays: platform.dataRetentionDays,
      replication: platform.replication,
      preventDestroy: keep,
    });
    for (const principal of platform.uploaders) store.grantUpload(principal);
    for (const principal of platform.publishers) store.grantPublish(principal);
    const approval =
      config.owner.subscriptionId === platform.subscriptionId
        ? {}
        : { approvalRequest: `trainers of ${config.name} ask for attestation and key release` };
    new PrivateAccess(this, 'OwnerVault', {
      ...place,
      ...approval,
      ...access('vault', 1),
      name: `pe-${config.name}-vault`,
      service: 'vault',
      targetId: owner.vaultId,
    });
    new PrivateAccess(this, 'OwnerAttestation', {
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
      retentionDays: platform.logRetentionDays,
      privateAccess: { subnetId: network.endpointSubnetId, dns: dns('monitor') },
    });
    this.network = network;
    this.store = store;
    this.hosts = {
      [new URL(store.blobEndpoint).hostname]: network.endpointAddress(0),
      [owner.vaultHost]: network.endpointAddress(1),
      [new URL(owner.authority).hostname]: network.endpointAddress(2),
    };
  }

  #dns(
    config: DeploymentConfig,
    network: TrainerNetwork,
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
