import { expect, test } from 'vitest';
import * as constructs from '../../constructs/index.ts';

test('what the package exports', () => {
  expect(Object.keys(constructs).sort()).toEqual([
    'AttestationService',
    'AuditLog',
    'ConfidentialTrainer',
    'DataStore',
    'LogIngestion',
    'PROVIDER_VERSIONS',
    'PrivateAccess',
    'PrivateDnsZones',
    'ReleaseKey',
    'ReleasePolicy',
    'ReleaseVault',
    'SelfDeallocation',
    'TrainerNetwork',
    'cloudConfig',
    'configureProvider',
    'deploymentOutput',
    'nameSuffix',
  ]);
});
