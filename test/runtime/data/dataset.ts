import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ecPublicJwk, type RsaPublicJwk, rsaPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { prepareData } from '../../../runtime/data/prepare/prepare.ts';
import type { SealOptions } from '../../../runtime/data/seal-dataset.ts';

export const KEY_ID = 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef';

export interface TestKeys {
  readonly kek: KeyObject;
  readonly kekJwk: RsaPublicJwk;
  readonly escrow: KeyObject;
  readonly escrowJwk: RsaPublicJwk;
  readonly owner: KeyObject;
  readonly ownerJwk: ReturnType<typeof ecPublicJwk>;
  readonly ownerId: string;
}

/** 2048 bits: quick to make, and the size is of no account here. */
export function makeKeys(): TestKeys {
  const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const [kek, escrow] = [rsa(), rsa()];
  const owner = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const ownerJwk = ecPublicJwk(owner);
  // As `ctrain init` does: a command would take a prefix that begins with a hyphen for an option.
  if (thumbprint(ownerJwk).startsWith('-')) return makeKeys();
  return {
    kek,
    kekJwk: rsaPublicJwk(kek),
    escrow,
    escrowJwk: rsaPublicJwk(escrow),
    owner,
    ownerJwk,
    ownerId: thumbprint(ownerJwk),
  };
}

export function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'ctrain-data-'));
}

/** Rows that differ, two features, three classes. */
export function csvText(rows = 300): string {
  const lines = Array.from(
    { length: rows },
    (_, i) => `${(i * 0.37).toFixed(2)},${i},${['red', 'green', 'blue'][i % 3]}`,
  );
  return `width,height,class\n${lines.join('\n')}\n`;
}

/** A folder with `data.csv` and what prepare-data makes of it in `processed`. */
export async function preparedFolder(rows = 300): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'data.csv'), csvText(rows));
  await prepareData({ inputPath: join(folder, 'data.csv'), outputDir: join(folder, 'processed') });
  return folder;
}

export function sealOptions(folder: string, keys: TestKeys): SealOptions {
  return {
    inputPath: join(folder, 'processed'),
    outputPath: join(folder, 'encrypted'),
    kek: { keyId: KEY_ID, jwk: keys.kekJwk },
    escrow: keys.escrowJwk,
    ownerKey: keys.owner,
    rowsPerShard: 100,
  };
}
