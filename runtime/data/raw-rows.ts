import { open } from 'node:fs/promises';
import { extname } from 'node:path';
import { SecureTrainingError } from '../errors.ts';
import type { RawRows } from './seal-shard.ts';

/** Extension of a split's file that is sealed as it is, for a custom dataset to open (docs/custom-models.md). */
const RAW_EXTENSION = '.raw';
/** One object, which broker and worker hold in memory at once. */
const RAW_BYTES = 268_435_456;

export function isRaw(path: string): boolean {
  return extname(path) === RAW_EXTENSION;
}

/**
 * The bytes of a file as one shard.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where it is empty or more than a worker is handed at once
 */
export async function* rawRows(path: string, count: number): AsyncGenerator<RawRows> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    if (size === 0 || size > RAW_BYTES) {
      throw new SecureTrainingError('CONFIG_INVALID', `${path}: found ${size} bytes, wanted 1 to ${RAW_BYTES}`);
    }
    // Memory of its own, for it may be moved to a thread.
    const bytes = new Uint8Array(size);
    for (let filled = 0; filled < size; ) {
      const { bytesRead } = await handle.read(bytes, filled, size - filled, filled);
      if (bytesRead === 0)
        throw new SecureTrainingError('CONFIG_INVALID', `${path}: it became shorter while it was read`);
      filled += bytesRead;
    }
    yield { bytes, count };
  } finally {
    await handle.close();
  }
}
