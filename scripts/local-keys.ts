import { createPrivateKey, generateKeyPair, type KeyObject, type KeyPairKeyObjectResult } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type EcPublicJwk, ecPublicJwk, type RsaPublicJwk, rsaPublicJwk, thumbprint } from '../runtime/crypto/jwk.ts';
import { writeFileAtomic } from '../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../runtime/errors.ts';

export const DEFAULT_KEY_FILE = 'ctrain-key.json';

/** The keys one person holds: one signs (manifests, agreements), one opens (models, annexes, escrow slots). */
export interface LocalKeys {
  readonly name: string;
  readonly signing: KeyObject;
  readonly decryption: KeyObject;
  readonly signingJwk: EcPublicJwk;
  readonly recipientJwk: RsaPublicJwk;
  /** RFC 7638 thumbprint of the signing key: who this is, in manifests and agreements. */
  readonly ownerId: string;
}

interface KeyFile {
  readonly version: 1;
  readonly name: string;
  readonly keys: readonly JsonWebKey[];
}

interface JsonWebKey {
  readonly [member: string]: string | undefined;
}

/** Makes a P-256 signing key and an RSA-3072 decryption key and writes them to `path`, readable by the user alone. Never overwrites. */
export async function createLocalKeys(path: string, name: string): Promise<LocalKeys> {
  if (await exists(path)) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${path} exists: a key file is never overwritten, remove it yourself`,
    );
  }
  const [ec, rsa] = await Promise.all([
    generateSigningKey(),
    generate('rsa', { modulusLength: 3072, publicExponent: 65537 }),
  ]);
  const file: KeyFile = {
    version: 1,
    name,
    keys: [
      { use: 'sig', alg: 'ES256', ...exportJwk(ec.privateKey) },
      { use: 'enc', alg: 'RSA-OAEP-256', ...exportJwk(rsa.privateKey) },
    ],
  };
  await writeFileAtomic(path, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
  return localKeys(name, ec.privateKey, rsa.privateKey);
}

const generate = promisify(generateKeyPair);

/** Its thumbprint begins the names of datasets, which people hand to commands: with a hyphen first it would be taken for an option. */
async function generateSigningKey(): Promise<KeyPairKeyObjectResult> {
  const pair = await generate('ec', { namedCurve: 'P-256' });
  return thumbprint(ecPublicJwk(pair.privateKey)).startsWith('-') ? generateSigningKey() : pair;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such file or it is not a key file */
export async function loadLocalKeys(path: string = DEFAULT_KEY_FILE): Promise<LocalKeys> {
  if (!(await exists(path))) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `no key file at ${path}: make one with 'ctrain init', or name one with --owner-key`,
    );
  }
  try {
    const file = JSON.parse(await readFile(path, 'utf8')) as KeyFile;
    const find = (use: string) => {
      const jwk = file.keys.find((key) => key.use === use);
      if (jwk === undefined) throw new Error(`no key for use ${use}`);
      return createPrivateKey({ key: jwk, format: 'jwk' });
    };
    return localKeys(file.name, find('sig'), find('enc'));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} is not a key file that 'ctrain init' wrote`, { cause });
  }
}

/** The keys of one person from their private halves. */
export function localKeys(name: string, signing: KeyObject, decryption: KeyObject): LocalKeys {
  const signingJwk = ecPublicJwk(signing);
  return {
    name,
    signing,
    decryption,
    signingJwk,
    recipientJwk: rsaPublicJwk(decryption),
    ownerId: thumbprint(signingJwk),
  };
}

function exportJwk(key: KeyObject): JsonWebKey {
  return key.export({ format: 'jwk' }) as JsonWebKey;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
