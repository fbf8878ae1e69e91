import { SecureTrainingError } from '../errors.ts';

/** What a vault says about a key, as far as sealing to it is concerned. */
export interface SealingKeyFacts {
  readonly keyOps: readonly string[];
  readonly exportable: boolean;
  readonly enabled: boolean;
  readonly releasePolicy?: { readonly immutable: boolean };
}

/** Operations that use only the public half: everything else would let somebody open data without attestation. */
const PUBLIC_OPERATIONS: readonly string[] = ['wrapKey', 'encrypt'];

/**
 * Checks that the only way to a key's private half is a release to an attested machine, and that nobody can change that.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, one failure per reason
 */
export function checkSealingKey(keyName: string, key: SealingKeyFacts): void {
  const dangerous = key.keyOps.filter((operation) => !PUBLIC_OPERATIONS.includes(operation));
  const failures = [
    key.enabled ? undefined : 'it is disabled',
    key.exportable ? undefined : 'it is not exportable, so no machine could ever get it',
    key.releasePolicy === undefined ? 'it has no release policy' : undefined,
    key.releasePolicy?.immutable === false
      ? "its release policy can still be changed: lock it first with 'ctrain lock-key'"
      : undefined,
    dangerous.length === 0
      ? undefined
      : `key_ops: found ${dangerous.join(', ')}, wanted only wrapKey: the vault would open data for whoever has a role`,
  ].filter((failure) => failure !== undefined);
  if (failures.length === 0) return;
  throw new SecureTrainingError('CONFIG_INVALID', `key ${keyName} is not safe to seal to: ${failures.join('; ')}`, {
    failures,
  });
}

/** What a vault says about a key that an owner wants to keep a slot for. */
export interface EscrowKeyFacts extends SealingKeyFacts {
  /** Versioned id. */
  readonly kid: string;
  /** RFC 7638 thumbprint of its public half. */
  readonly thumbprint: string;
}

/** What an escrow key must not be, and where it must not lie, as far as either is known. */
export interface EscrowSurroundings {
  /** Keys that data are sealed to: ids without a version, and thumbprints. */
  readonly datasetKeys: readonly string[];
  /** Host names. */
  readonly platformVaults: readonly string[];
}

/**
 * Checks that an escrow key can be used by its owner, and by the owner alone as far as a key shows that: not one that a
 * machine gets, not one that lies where the platform's people have roles.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, one failure per reason
 */
export function checkEscrowKey(keyName: string, key: EscrowKeyFacts, around: EscrowSurroundings): void {
  const { host } = new URL(key.kid);
  const isDatasetKey = [key.kid.slice(0, key.kid.lastIndexOf('/')), key.thumbprint].some((known) =>
    around.datasetKeys.includes(known),
  );
  const failures = [
    key.enabled ? undefined : 'it is disabled',
    key.keyOps.includes('unwrapKey')
      ? undefined
      : `key_ops: found ${key.keyOps.join(', ') || 'none'}, wanted unwrapKey among them: nothing could be opened with it`,
    isDatasetKey ? "it is the dataset's own key: losing that would lose both" : undefined,
    key.exportable || key.releasePolicy !== undefined
      ? 'it is exportable: its private half could leave the vault, and an attested machine might get it'
      : undefined,
    around.platformVaults.includes(host)
      ? `${host} is a vault of the platform, whose people could open the data: wanted one of the owner's own`
      : undefined,
  ].filter((failure) => failure !== undefined);
  if (failures.length === 0) return;
  throw new SecureTrainingError('CONFIG_INVALID', `key ${keyName} is no escrow key: ${failures.join('; ')}`, {
    failures,
  });
}

/** How long before a key expires people are told. */
const WARNED_DAYS = 30;
const DAY_IN_MS = 86_400_000;

/** A line for people about a key that expires soon or has; `undefined` when there is nothing to say. */
export function expiryWarning(keyName: string, expiresOn: Date | undefined, now: Date): string | undefined {
  if (expiresOn === undefined) return undefined;
  const days = Math.floor((expiresOn.getTime() - now.getTime()) / DAY_IN_MS);
  if (days > WARNED_DAYS) return undefined;
  const when = days < 0 ? `expired ${expiresOn.toISOString()}` : `expires in ${days} days`;
  return `warning: key ${keyName} ${when}. A vault goes on releasing it: 'ctrain rotate-keys' replaces it, --retire ends it`;
}

/**
 * The key that a name means: itself, or the newest `NAME-xxxxxxxx`, whose suffix is the digest of its release policy.
 * @param known names in a deployment, newest last
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the names there are
 */
export function resolveKeyName(name: string, known: readonly string[]): string {
  const found = known.findLast((candidate) => candidate === name || candidate.replace(/-[0-9a-f]{8}$/, '') === name);
  if (found !== undefined) return found;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `no key is called ${name}; the deployment has ${known.join(', ') || 'none'}`,
  );
}
