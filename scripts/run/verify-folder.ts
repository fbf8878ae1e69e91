import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { MODEL_FILES } from '../../runtime/export-run.ts';
import { SCORES_FILE } from '../../runtime/scores-file.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import { type ReceiptVerdict, verifyReceipt } from '../../runtime/verify-receipt.ts';
import { RUN_FOLDER } from './open-model.ts';
import { readRevocationLists } from './read-revocation-lists.ts';

export interface VerifyFolderOptions {
  /** Thumbprints of the owners' keys, known from elsewhere. */
  readonly owners: readonly string[];
  /** Digest of the agreement, known from elsewhere. */
  readonly agreementDigest?: string;
  /**
   * Roots of an emulator.
   * @default - Azure's
   */
  readonly emulatorRoots?: string;
  /**
   * Files of AMD's revocation lists.
   * @default - not asked, unless the agreement requires one
   */
  readonly revocationLists?: readonly string[];
}

/** Checks a folder that `open-model` left, offline. */
export async function verifyFolder(folder: string, options: VerifyFolderOptions): Promise<ReceiptVerdict> {
  const read = async (name: string) => {
    try {
      return Uint8Array.from(await readFile(join(folder, name)));
    } catch (cause) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `no ${name} in ${folder}: 'ctrain open-model' leaves such a folder`,
        { cause },
      );
    }
  };
  const lists = await readRevocationLists(options.revocationLists ?? []);
  const modelFiles: Record<string, Uint8Array> = {};
  for (const name of MODEL_FILES) modelFiles[name] = await read(join(RUN_FOLDER.model, name));
  // Of some runs: whether it has to be there says the receipt.
  const scores = await readFile(join(folder, RUN_FOLDER.model, SCORES_FILE)).catch(() => undefined);
  if (scores !== undefined) modelFiles[SCORES_FILE] = Uint8Array.from(scores);
  return verifyReceipt({
    receipt: await read(RUN_FOLDER.receipt),
    agreement: await read(RUN_FOLDER.agreement),
    trust: options.emulatorRoots === undefined ? AZURE_TRUST : await readEmulatorRoots(options.emulatorRoots),
    knownOwners: options.owners,
    ...(options.agreementDigest === undefined ? {} : { knownAgreement: options.agreementDigest }),
    releaseReplies: parseReplies(await read(RUN_FOLDER.annex), join(folder, RUN_FOLDER.annex)),
    modelFiles,
    ...(lists.length === 0 ? {} : { revocationLists: lists.map(({ bytes }) => bytes) }),
  });
}

function parseReplies(bytes: Uint8Array, path: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (
      typeof value === 'object' &&
      value !== null &&
      Object.values(value).every((reply) => typeof reply === 'string')
    ) {
      return value as Record<string, string>;
    }
  } catch {
    // Falls through to the one refusal.
  }
  throw new SecureTrainingError('EVIDENCE_MALFORMED', `${path}: wanted an object of release replies by owner id`);
}

/** Whatever the file says, nothing verified with it is ever more than EMULATED. */
export async function readEmulatorRoots(path: string): Promise<TrustAnchors> {
  try {
    const roots = JSON.parse(await readFile(path, 'utf8')) as TrustAnchors;
    if (typeof roots.amdRootKeys.Genoa !== 'string' || !Array.isArray(roots.vaultRoots))
      throw new Error('no roots in it');
    return { ...roots, hardware: 'EMULATED' };
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} is not a roots file of an emulator`, { cause });
  }
}
