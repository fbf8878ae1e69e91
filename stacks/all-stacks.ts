import type { App } from 'cdktf';
import { DataOwnerStack } from './data-owner-stack.ts';
import type { DeploymentConfig } from './deployment-config.ts';
import { PlatformStack } from './platform-stack.ts';
import { TrainingStack } from './training-stack.ts';

/** The three stacks of one environment, in the order they are applied. Their ids are part of state keys: a contract. */
export function addStacks(app: App, config: DeploymentConfig): void {
  const owner = new DataOwnerStack(app, 'data-owner', config);
  const platform = new PlatformStack(app, 'platform', config, owner);
  new TrainingStack(app, 'training', config, owner, platform);
}
