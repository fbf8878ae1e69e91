/** What other programs may build on. Everything else can change without notice. */
export { AZURE_TRUST } from './azure-trust.ts';
export type { EnvironmentPolicy } from './catalogue.ts';
export { STRICT_ENVIRONMENT } from './catalogue.ts';
export type { EnvironmentOptions, EnvironmentStep, EstablishedEnvironment, ReleasedKey } from './environment.ts';
export { SecureEnvironment } from './environment.ts';
export type { ErrorCode } from './errors.ts';
export { EXIT_CODES, SecureTrainingError } from './errors.ts';
export type { ReleasePolicy } from './keys/release-policy.ts';
export { buildReleasePolicy, evaluateReleasePolicy } from './keys/release-policy.ts';
export type { TrainingConfig } from './training-config.ts';
export { parseTrainingConfig } from './training-config.ts';
export type { TrustAnchors } from './trust.ts';
export type { ReceiptCheck, ReceiptVerdict, Verdict, VerifyReceiptOptions } from './verify-receipt.ts';
export { VERDICT_EXIT_CODES, verifyReceipt } from './verify-receipt.ts';
