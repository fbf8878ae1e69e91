import { readFile } from 'node:fs/promises';
import { SecureTrainingError } from '../../runtime/errors.ts';

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the file */
export async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `no file at ${path}`, { cause });
  }
}
