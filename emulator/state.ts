import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SecureTrainingError } from '../runtime/errors.ts';
import { type AmdPki, createAmdPki } from './amd-pki.ts';
import type { Identity } from './entra.ts';
import { METADATA_HOST } from './metadata-service.ts';
import { type PlaceNames, placeNames } from './names.ts';
import { RESOURCE_MANAGER_HOST } from './resource-manager.ts';
import { createTokenSigner, createVaultSigner, createVtpmAuthority, issueAkCertificate } from './service-pki.ts';
import type { SigningIdentity } from './signing-identity.ts';
import { createTlsMaterial, type TlsMaterial } from './tls.ts';

/**
 * Client id of the identity that the command line acts as. The same everywhere: an emulator belongs to whoever can start it.
 */
export const OPERATOR_CLIENT_ID = '0e6f2a10-3c1d-4a52-9b0e-6f1f1c0a7d11';

/** Everything about an emulated deployment that outlives a restart. Its keys protect nothing but the emulator from itself. */
export interface EmulatorState {
  readonly version: 1;
  readonly tenantId: string;
  readonly subscriptionId: string;
  readonly names: PlaceNames;
  readonly operator: Identity;
  readonly trainer: Identity;
  /** Lower case. */
  readonly vmId: string;
  readonly tls: TlsMaterial;
  /** PKCS#8 PEM, as the others. */
  readonly entraKey: string;
  /** Base64. */
  readonly storageKey: string;
  readonly amd: AmdPki;
  readonly tokenSigner: SigningIdentity;
  readonly vaultSigner: SigningIdentity;
  readonly vtpmAuthority: SigningIdentity;
  readonly akKey: string;
  /** Base64 of DER. */
  readonly akCertificate: string;
  readonly ekKey: string;
}

export interface StateOptions {
  readonly stateDir: string;
  readonly now: Date;
  /** Bits of the made-up AMD roots. */
  readonly rootKeyBits: number;
}

/**
 * Reads the state of an earlier start, or makes one.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a file that is not one
 */
export async function openState(options: StateOptions): Promise<EmulatorState> {
  const file = join(options.stateDir, 'state.json');
  const found = readText(file);
  if (found !== undefined) return parseState(found, file);
  const state = await createState(options);
  await mkdir(options.stateDir, { recursive: true });
  await writeFile(`${file}.partial`, JSON.stringify(state), { mode: 0o600 });
  await rename(`${file}.partial`, file);
  return state;
}

async function createState({ now, rootKeyBits }: StateOptions): Promise<EmulatorState> {
  const subscriptionId = randomUUID();
  const names = placeNames(subscriptionId, randomBytes(4).toString('hex'));
  const vmId = randomUUID();
  const vtpmAuthority = createVtpmAuthority(now);
  const akKey = rsaKey();
  const { storageHost, vaultHost, attestationHost, logsHost } = names;
  const akCertificate = issueAkCertificate(vtpmAuthority, createPublicKey(akKey), vmId, now);
  return {
    version: 1,
    tenantId: randomUUID(),
    subscriptionId,
    names,
    operator: { name: 'operator', clientId: OPERATOR_CLIENT_ID, principalId: randomUUID() },
    trainer: { name: 'id-trainer', clientId: randomUUID(), principalId: randomUUID() },
    vmId,
    tls: createTlsMaterial(
      [storageHost, vaultHost, attestationHost, logsHost, RESOURCE_MANAGER_HOST, METADATA_HOST],
      now,
    ),
    entraKey: rsaKey(),
    storageKey: randomBytes(64).toString('base64'),
    amd: await createAmdPki('Milan', { modulusLength: rootKeyBits }),
    tokenSigner: createTokenSigner(names.attestationAuthority, now),
    vaultSigner: createVaultSigner(vaultHost, now),
    vtpmAuthority,
    akKey,
    akCertificate: Buffer.from(akCertificate).toString('base64'),
    ekKey: rsaKey(),
  };
}

function rsaKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function parseState(text: string, file: string): EmulatorState {
  try {
    const state = JSON.parse(text) as EmulatorState;
    if (state.version === 1) return state;
  } catch {
    // Said below, as for any other file that is none.
  }
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${file} is not the state of an emulator: remove its folder to start anew`,
  );
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
