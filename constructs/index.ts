export type { ActionGroupProps, ActionGroupReference } from './action-group.ts';
export { ActionGroup } from './action-group.ts';
export type { AttestationReference, AttestationServiceProps } from './attestation-service.ts';
export { AttestationService } from './attestation-service.ts';
export type { AuditedService, AuditLogProps, AuditTarget } from './audit-log.ts';
export { AuditLog } from './audit-log.ts';
export type { BootOptions } from './boot.ts';
export { cloudConfig } from './boot.ts';
export type { BudgetProps } from './budget.ts';
export { Budget } from './budget.ts';
export type { ConfidentialTrainerProps, TrainerBundle } from './confidential-trainer.ts';
export { ConfidentialTrainer } from './confidential-trainer.ts';
export type { CustomerKeyProps, CustomerKeyReference } from './customer-key.ts';
export { CustomerKey } from './customer-key.ts';
export type { CustomerKeyVaultProps } from './customer-key-vault.ts';
export { CustomerKeyVault } from './customer-key-vault.ts';
export type { DataStoreProps, DataStoreReference } from './data-store.ts';
export { DataStore } from './data-store.ts';
export type { DeploymentParts } from './deployment-output.ts';
export { deploymentOutput } from './deployment-output.ts';
export type { DiskKeyProps, DiskKeyReference } from './disk-key.ts';
export { DiskKey } from './disk-key.ts';
export type { FlowLogsProps } from './flow-logs.ts';
export { FlowLogs } from './flow-logs.ts';
export type { Grantee } from './grantee.ts';
export type { LogIngestionProps, LogIngestionReference } from './log-ingestion.ts';
export { LogIngestion } from './log-ingestion.ts';
export { nameSuffix } from './names.ts';
export type { NatOutboundProps } from './nat-outbound.ts';
export { NatOutbound } from './nat-outbound.ts';
export type { OperatorHostProps } from './operator-host.ts';
export { OperatorHost } from './operator-host.ts';
export type { PlacementProps } from './placement.ts';
export type { PolicyAssignmentsProps } from './policy-assignments.ts';
export { PolicyAssignments } from './policy-assignments.ts';
export type { VaultReference } from './premium-vault.ts';
export type {
  PrivateAccessOptions,
  PrivateAccessProps,
  PrivateDns,
  PrivateService,
  ServiceEndpoint,
} from './private-access.ts';
export { PrivateAccess } from './private-access.ts';
export type { PrivateDnsZonesProps } from './private-dns-zones.ts';
export { PrivateDnsZones } from './private-dns-zones.ts';
export type { ProviderProps } from './provider.ts';
export { configureProvider, PROVIDER_VERSIONS } from './provider.ts';
export type { ReleaseKeyProps, ReleaseKeyReference } from './release-key.ts';
export { ReleaseKey } from './release-key.ts';
export type { ConfidentialVmPolicyOptions } from './release-policy.ts';
export { ReleasePolicy } from './release-policy.ts';
export type { ReleaseVaultProps, ReleaseVaultReference } from './release-vault.ts';
export { ReleaseVault } from './release-vault.ts';
export type { ResourceLockProps } from './resource-lock.ts';
export { ResourceLock } from './resource-lock.ts';
export type { SelfDeallocationProps } from './self-deallocation.ts';
export { SelfDeallocation } from './self-deallocation.ts';
export type { StoreRoles } from './store-roles.ts';
export type { TrainerNetworkProps, TrainerNetworkReference } from './trainer-network.ts';
export { TrainerNetwork } from './trainer-network.ts';
export type { Transform, TransformedResource } from './transform.ts';
export { transformResources } from './transform.ts';
export type { ConfidentialVmSize } from './vm-sizes.ts';
