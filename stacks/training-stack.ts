import { ResourceGroup } from '@cdktf/provider-azurerm/lib/resource-group/index.js';
import { TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import {
  ConfidentialTrainer,
  type ConfidentialVmSize,
  configureProvider,
  deploymentOutput,
} from '../constructs/index.ts';
import type { DataOwnerStack } from './data-owner-stack.ts';
import { type DeploymentConfig, environmentPolicy } from './deployment-config.ts';
import { addOversight } from './oversight.ts';
import type { PlatformStack } from './platform-stack.ts';
import { configureBackend } from './state-backend.ts';

/** What can go at any time: the machines and their identity. Its output is the file every `ctrain` command takes. */
export class TrainingStack extends TerraformStack {
  constructor(scope: Construct, id: string, config: DeploymentConfig, owner: DataOwnerStack, platform: PlatformStack) {
    super(scope, id);
    const { training } = config;
    const { subscriptionId } = config.platform;
    const environment = environmentPolicy(config);
    const tags = { ...config.tags };
    configureBackend(this, config);
    configureProvider(this, { subscriptionId, tenantId: config.tenantId });

    const group = new ResourceGroup(this, 'Group', { name: training.resourceGroup, location: config.location, tags });
    const trainer = new ConfidentialTrainer(this, 'Trainer', {
      resourceGroupName: group.name,
      location: config.location,
      tags,
      name: `vm-${config.name}`,
      subnetId: platform.network.trainerSubnetId,
      bundle: { sha256: training.bundleSha256, nodeSha256: training.nodeSha256 },
      logs: platform.logs,
      hosts: platform.hosts,
      environment,
      imageVersion: training.imageVersion,
      // Any text: the construct refuses what is not one of its sizes, with the list.
      size: training.size as ConfidentialVmSize,
      count: training.count,
      dailyShutdown: training.dailyShutdown,
      subscriptionId,
      ...(platform.diskKey === undefined ? {} : { diskKey: platform.diskKey }),
      ...(training.resourceManagerAddress === undefined
        ? {}
        : { resourceManagerAddress: training.resourceManagerAddress }),
    });
    for (const principal of training.operators) trainer.grantOperate(principal);
    addOversight(this, config, 'training', group, platform.actionGroup);
    platform.store.grantTraining(trainer);
    platform.logs.grantSend(trainer);
    deploymentOutput(this, {
      vault: owner,
      key: owner,
      attestation: owner,
      store: platform.store,
      trainer,
      environment,
      tenantId: config.tenantId,
      subscriptionId,
    });
  }
}
