import { open } from 'node:fs/promises';
import { RecordBatchFileWriter, RecordBatchReader } from 'apache-arrow';
import { AsyncByteQueue } from 'apache-arrow/io/stream';
import { SecureTrainingError } from '../errors.ts';
import {
  batchRows,
  type FeatureType,
  type Rows,
  type ShardMetadata,
  shardBatch,
  shardMetadata,
  shardSchema,
} from './arrow-shard.ts';
import { openAtomic } from './atomic-file.ts';

/** A split in one Arrow IPC file of many record batches: what `prepare-data` writes for images. */
export interface ArrowFileWriter {
  /** The arrays may be used again once this resolves. */
  write(rows: Rows): Promise<void>;
  /** Puts the whole file under its name. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** Keeps in memory only the batch being written; nothing stands under `path` before `commit`. */
export async function openArrowWriter(
  path: string,
  dtype: FeatureType,
  featureCount: number,
  metadata: ShardMetadata,
): Promise<ArrowFileWriter> {
  const file = await openAtomic(path);
  const schema = shardSchema(dtype, featureCount, metadata);
  const sink = new Sink();
  const writer = new RecordBatchFileWriter();
  writer.reset(sink, schema);
  const flush = async () => {
    for (const chunk of sink.take()) await file.write(chunk);
  };
  return {
    async write(rows) {
      writer.write(shardBatch(schema, rows));
      await flush();
    },
    async commit() {
      writer.close();
      await flush();
      await file.commit();
    },
    discard: () => file.discard(),
  };
}

/**
 * Rows of an Arrow file that {@link openArrowWriter} or `encodeShard` wrote, batch by batch.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when it is something else
 */
export async function* readArrowFile(path: string): AsyncGenerator<Rows & { readonly split: string }> {
  const handle = await open(path, 'r');
  try {
    const reader = await RecordBatchReader.from(handle);
    await reader.open();
    const { split } = shardMetadata(reader.schema);
    for await (const batch of reader) yield { ...batchRows(batch), split };
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} is not an Arrow file that 'ctrain prepare-data' wrote`, {
      cause,
    });
  } finally {
    await handle.close();
  }
}

/** Arrow's own queue hands out what it was given whenever it likes; this one when asked, so that a writer can wait for the disk. */
class Sink extends AsyncByteQueue<Uint8Array> {
  #chunks: Uint8Array[] = [];

  override write(value: Uint8Array): void {
    if (value.byteLength > 0) this.#chunks.push(value);
  }

  take(): Uint8Array[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }
}
