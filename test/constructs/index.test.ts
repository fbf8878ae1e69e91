import { expect, test } from 'vitest';
import * as constructs from '../../constructs/index.ts';

test('what the package exports', () => {
  expect(Object.keys(constructs).sort()).toEqual([
    'ActionGroup',
    'Alerts',
    'AttestationService',
    'AuditLog',
    'Budget',
    'ConfidentialTrainer',
    'CustomerKey',
    'CustomerKeyVault',
    'DataStore',
    'DiskKey',
    'FlowLogs',
    'LogIngestion',
    'NatOutbound',
    'OperatorHost',
    'PROVIDER_VERSIONS',
    'PolicyAssignments',
    'PrivateAccess',
    'PrivateDnsZones',
    'ReleaseKey',
    'ReleasePolicy',
    'ReleaseVault',
    'ResourceLock',
    'SelfDeallocation',
    'TrainerNetwork',
    'cloudConfig',
    'configureProvider',
    'deploymentOutput',
    'nameSuffix',
    'ownerAlerts',
    'platformAlerts',
    'transformResources',
  ]);
});
