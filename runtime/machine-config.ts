import { SecureTrainingError } from './errors.ts';

/** What the boot script (or the emulator) tells the trainer about its place. Nothing here is trusted with data: consent comes from the agreement. */
export interface MachineConfig {
  readonly version: 1;
  readonly vmResourceId: string;
  readonly identityClientId: string;
  /** `https://ACCOUNT.blob.core.windows.net` */
  readonly blobEndpoint: string;
  /** SHA-256 (hex) of the bundle that was started. */
  readonly bundleSha256: string;
  readonly logs: { readonly endpoint: string; readonly ruleId: string };
  /** TPM device, or the socket of a software one. */
  readonly vtpm: string;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` */
export function parseMachineConfig(json: string): MachineConfig {
  const value = JSON.parse(json) as Partial<MachineConfig>;
  const missing = (
    ['vmResourceId', 'identityClientId', 'blobEndpoint', 'bundleSha256', 'logs', 'vtpm'] as const
  ).filter((name) => value[name] === undefined);
  if (value.version !== 1 || missing.length > 0) {
    throw new SecureTrainingError('CONFIG_INVALID', `machine configuration lacks ${missing.join(', ') || 'version 1'}`);
  }
  return value as MachineConfig;
}
