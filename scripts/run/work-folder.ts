/** What `train --data` keeps between two calls, below `.ctrain/work`: one folder for the same rows of the same owner. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, rmdir, stat } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import type { Deployment } from '../../runtime/catalogue.ts';
import { sha256, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { findLabels } from '../../runtime/data/prepare/npy.ts';
import type { PrepareOptions } from '../../runtime/data/prepare/prepare.ts';
import type { Manifest } from '../../runtime/statements/manifest.ts';
import type { LocalKeys } from '../local-keys.ts';

/** Which rows, and how they are to be read. */
export type RowSource = Pick<PrepareOptions, 'inputPath' | 'dataType' | 'label' | 'classes' | 'name' | 'seed'>;

/** Names the work folder: same input and owner, same folder; another configuration is another agreement in it. */
export async function fingerprint(data: RowSource, { ownerId }: Pick<LocalKeys, 'ownerId'>): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([data, ownerId]));
  for (const file of await inputFiles(data.inputPath)) {
    // Where a file lies counts too: moved to another folder an image is of another class.
    hash.update(JSON.stringify(file));
    // What cannot be read is told by prepareData, in its own words.
    await hashFile(file, hash).catch(() => undefined);
  }
  return toHex(Uint8Array.from(hash.digest())).slice(0, 16);
}

async function inputFiles(path: string): Promise<string[]> {
  if ((await stat(path).catch(() => undefined))?.isDirectory()) {
    const names = await readdir(path, { recursive: true });
    return names.sort().map((name) => join(path, name));
  }
  if (extname(path) !== '.npy') return [path];
  const labels = await findLabels(path).catch(() => undefined);
  return labels === undefined ? [path] : [path, labels];
}

async function hashFile(path: string, hash: ReturnType<typeof createHash>): Promise<void> {
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
}

/** A store of its own per deployment: what is in one is not in another. */
export function uploadedFile(folder: string, { storage }: Deployment): string {
  return join(folder, `uploaded-${shortDigest(storage.blobEndpoint)}.json`);
}

/** What of these rows is in the store of a deployment. */
export async function readUploaded(folder: string, deployment: Deployment): Promise<Manifest | undefined> {
  const text = await readFile(uploadedFile(folder, deployment), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Manifest);
}

/** Enough of a digest to tell files of one folder apart. */
export function shortDigest(text: string): string {
  return toHex(sha256(utf8(text))).slice(0, 16);
}

/** Upwards from `folder`, as far as there is nothing in them. */
export async function removeEmptyFolders(folder: string): Promise<void> {
  for (
    let at = folder;
    await rmdir(at).then(
      () => true,
      () => false,
    );
  )
    at = dirname(at);
}
