import { parseRevocationList, type RevocationList } from '../../runtime/attestation/revocation-list.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { readInput } from './read-input.ts';

/** Where AMD serves them (57230, KDS interface): told in help texts, never asked by this project. */
export const AMD_LISTS = 'https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/crl';

export interface RevocationListFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly list: RevocationList;
}

/**
 * Reads the files that `--crl` names.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the file that is no revocation list
 */
export async function readRevocationLists(paths: readonly string[]): Promise<readonly RevocationListFile[]> {
  return Promise.all(
    paths.map(async (path) => {
      const bytes = Uint8Array.from(await readInput(path));
      try {
        return { path, bytes, list: parseRevocationList(bytes) };
      } catch (cause) {
        if (!(cause instanceof SecureTrainingError)) throw cause;
        throw new SecureTrainingError('CONFIG_INVALID', `${path}: ${cause.message}`, { cause });
      }
    }),
  );
}
