import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type RsaPublicJwk, rsaPublicJwk } from '../runtime/crypto/jwk.ts';
import type { ReleasePolicy } from '../runtime/keys/release-policy.ts';

/** One version of a key. */
export interface VaultKeyVersion {
  /** 32 hex digits. */
  readonly version: string;
  /** PKCS#8 PEM: what an HSM would not show. */
  readonly privateKey: string;
  readonly keyOps: readonly string[];
  readonly enabled: boolean;
  /** Seconds since 1970, like all times of a vault. */
  readonly created: number;
  readonly updated: number;
  /** @default - not limited */
  readonly notBefore?: number;
  /** Wrapping ends here; release and unwrapping do not: expiry is not revocation. */
  readonly expires?: number;
}

/** A key: exportability and release policy belong to it, not to its versions. */
export interface VaultKey {
  readonly name: string;
  readonly exportable: boolean;
  /** @default - not exportable, so no policy */
  readonly releasePolicy?: {
    readonly policy: ReleasePolicy;
    readonly contentType: string;
    readonly immutable: boolean;
  };
  readonly tags: Readonly<Record<string, string>>;
  /** Oldest first. */
  readonly versions: readonly VaultKeyVersion[];
}

/** The keys of one vault, kept in a file so that they outlive the emulator. */
export interface VaultState {
  get(name: string): VaultKey | undefined;
  names(): readonly string[];
  /** Replaces or adds a key, and returns when it is on the disk. */
  put(key: VaultKey): void;
}

const STATE_FILE = 'vault.json';
const makeKeyPair = promisify(generateKeyPair);

/** Opens the vault in `folder`, or an empty one. */
export function openVaultState(folder: string): VaultState {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, STATE_FILE);
  const keys = new Map(existsSync(file) ? readKeys(file).map((key) => [key.name, key]) : []);
  return {
    get: (name) => keys.get(name),
    names: () => [...keys.keys()],
    put(key) {
      keys.set(key.name, key);
      // Whole or absent: a kill between the two lines leaves the old state.
      writeFileSync(`${file}.next`, JSON.stringify({ version: 1, keys: [...keys.values()] }), { mode: 0o600 });
      renameSync(`${file}.next`, file);
    },
  };
}

/** Private half of an RSA key of `bits`, PKCS#8 PEM. */
export async function generateVaultKey(bits: number): Promise<string> {
  const { privateKey } = await makeKeyPair('rsa', { modulusLength: bits });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

export function privateKeyOf(version: VaultKeyVersion): KeyObject {
  return createPrivateKey(version.privateKey);
}

export function publicJwkOf(version: VaultKeyVersion): RsaPublicJwk {
  return rsaPublicJwk(privateKeyOf(version));
}

function readKeys(file: string): readonly VaultKey[] {
  const state = JSON.parse(readFileSync(file, 'utf8')) as { version: number; keys: readonly VaultKey[] };
  if (state.version !== 1) throw new RangeError(`${file}: version is ${state.version}, wanted 1`);
  return state.keys;
}
