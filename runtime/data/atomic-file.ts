import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A temporary file's name: `.NAME.<process id>-<random>.partial`, in the folder of the file it becomes. */
const PARTIAL = /^\.(.+)\.(\d+)-[0-9a-f]+\.partial$/;

export interface AtomicFileOptions {
  /**
   * Permission bits of a new file.
   * @default 0o666, less the umask
   */
  readonly mode?: number;
  /**
   * The caller has called {@link removePartials} for the folder.
   * @default - what killed processes left of the same file is looked for
   */
  readonly isClean?: boolean;
}

/** A file on its way: nothing stands under `path` until {@link commit}, and then all of it does. */
export interface AtomicFile {
  readonly path: string;
  /** Where its content stands until then, for another program to write there. */
  readonly temporaryPath: string;
  write(bytes: Uint8Array): Promise<void>;
  /** Flushes to the disk and renames. */
  commit(): Promise<void>;
  /** Removes what was written. Does nothing after {@link commit}, so it may stand in a `finally`. */
  discard(): Promise<void>;
}

/** Writes a whole file or none: temporary file in the same folder, fsync, rename, fsync of the folder. Makes the folder. */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  options: AtomicFileOptions = {},
): Promise<void> {
  const file = await openAtomic(path, options);
  try {
    await file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content);
    await file.commit();
  } finally {
    await file.discard();
  }
}

/** As {@link writeFileAtomic}, in pieces. Removes what killed processes left of the same file. */
export async function openAtomic(path: string, options: AtomicFileOptions = {}): Promise<AtomicFile> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  if (options.isClean !== true) await removePartials(folder, basename(path));
  const temporary = join(folder, `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.partial`);
  const handle = await open(temporary, 'wx', options.mode);
  let done = false;
  return {
    path,
    temporaryPath: temporary,
    write: (bytes) => writeAll(handle, bytes),
    async commit() {
      await handle.sync();
      await handle.close();
      await rename(temporary, path);
      done = true;
      await syncFolder(folder);
    },
    async discard() {
      if (done) return;
      done = true;
      // Closed already when commit failed between close and rename.
      await handle.close().catch(() => undefined);
      await rm(temporary, { force: true });
    },
  };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < bytes.length) offset += (await handle.write(bytes, offset)).bytesWritten;
}

/** A rename survives a power cut only when the folder is on the disk too. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes what killed processes left in a folder, of one file or of any. */
export async function removePartials(folder: string, name?: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const match = PARTIAL.exec(entry);
    if (match === null || (name !== undefined && match[1] !== name) || isAlive(Number(match[2]))) continue;
    await rm(join(folder, entry), { force: true });
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    // EPERM: there, but somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
