import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { encodeShard, SHARD_ROWS, shardRows } from '../../runtime/data/arrow-shard.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { DATASET_FILE, type DatasetDescription, readDatasetFile } from '../../runtime/data/dataset-file.ts';
import { prepareData } from '../../runtime/data/prepare/prepare.ts';
import { readPreparedRows } from '../../runtime/data/prepared-rows.ts';
import { isRaw, rawRows } from '../../runtime/data/raw-rows.ts';
import { countRows } from '../../runtime/data/seal-shard.ts';
import { type DatasetSchema, SPLITS } from '../../runtime/statements/manifest.ts';
import { type RowSource, removeEmptyFolders } from './work-folder.ts';

/** Rows that are prepared and cut as sealing cuts them, so that a run on them makes the weights that a run on sealed ones makes. */
export interface PlainRows {
  readonly schema: DatasetSchema;
  /** Rows of each shard, by split. */
  readonly shards: Readonly<Record<string, readonly number[]>>;
  readonly trainRows: number;
  /** The train shards, as a mixture by weight knows them. */
  readonly train: readonly { readonly ownerId: string; readonly dataset: string; readonly rows: number }[];
  open(split: string, shard: number): Promise<Uint8Array>;
  /** They are plaintext: whoever prepared them removes them. */
  remove(): Promise<void>;
}

/**
 * Prepares rows below `workDir`, unless `inputPath` is a folder that `prepare-data` left.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a wrong row, with file, line and column
 */
export async function plainRows(data: RowSource, workDir: string, abortSignal?: AbortSignal): Promise<PlainRows> {
  const parent = resolve(workDir);
  await mkdir(parent, { recursive: true });
  await removeLeft(parent);
  const folder = await mkdtemp(join(parent, `plain-${process.pid}-`));
  const remove = async () => {
    await rm(folder, { recursive: true, force: true });
    await removeEmptyFolders(parent);
  };
  try {
    const isPrepared = await stat(join(data.inputPath, DATASET_FILE)).catch(() => undefined);
    const source = isPrepared === undefined ? join(folder, 'processed') : data.inputPath;
    const description =
      isPrepared === undefined
        ? (await prepareData({ ...data, outputDir: source, ...(abortSignal && { abortSignal }) })).description
        : await readDatasetFile(source);
    const shards = await cutShards(description, source, folder);
    const { schema, splits } = description;
    const open = async (split: string, shard: number) =>
      Uint8Array.from(await readFile(join(folder, shardFile(split, shard))));
    const train = (shards.train ?? []).map((rows) => ({ ownerId: '', dataset: description.name, rows }));
    return { schema, shards, trainRows: splits.train.rows, train, open, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function cutShards(
  { schema, splits }: DatasetDescription,
  source: string,
  folder: string,
): Promise<Record<string, number[]>> {
  const perShard = Math.min(SHARD_ROWS, shardRows(schema.featureCount, schema.dtype));
  const shards: Record<string, number[]> = {};
  for (const split of SPLITS) {
    const path = join(source, splits[split].file);
    const pieces = isRaw(path) ? rawRows(path, splits[split].rows) : readPreparedRows(path, schema, split, perShard);
    const counts: number[] = [];
    for await (const rows of pieces) {
      const bytes = 'bytes' in rows ? rows.bytes : encodeShard(rows, { version: 1, split });
      await writeFileAtomic(join(folder, shardFile(split, counts.length)), bytes, { isClean: true, mode: 0o600 });
      counts.push(countRows(rows));
    }
    shards[split] = counts;
  }
  return shards;
}

/** What processes that were killed have left: it is plaintext. */
async function removeLeft(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const [, pid] = /^plain-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // Somebody else's: it is there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function shardFile(split: string, shard: number): string {
  return `${split}-${shard}`;
}
