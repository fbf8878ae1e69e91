import { readFileSync } from 'node:fs';
import { utf8 } from './crypto/bytes.ts';
import { SecureTrainingError } from './errors.ts';
import { type Check, checkShape, hexSha256, members, oneOf, parseJson, text as textOf } from './shape.ts';

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

const place: Check<string> = textOf(/^[\x21-\x7e]{1,1024}$/, 'printable text without spaces');

const configShape = members<MachineConfig>({
  version: oneOf(1),
  vmResourceId: place,
  identityClientId: place,
  blobEndpoint: textOf(/^https:\/\/[a-z0-9.-]+$/, 'an https origin'),
  bundleSha256: hexSha256,
  logs: members<MachineConfig['logs']>({ endpoint: place, ruleId: place }),
  vtpm: place,
});

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such file, or it is not a machine configuration */
export function readMachineConfig(path: string): MachineConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `no machine configuration at ${path}`, { cause });
  }
  return parseMachineConfig(text, path);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed */
export function parseMachineConfig(text: string, what = 'machine configuration'): MachineConfig {
  return checkShape(configShape, parseJson(utf8(text), what, 'CONFIG_INVALID'), what, 'CONFIG_INVALID');
}
