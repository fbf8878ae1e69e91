import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { SecureTrainingError } from '../../errors.ts';

/** A file in pieces of the asker's size. */
export interface ByteReader {
  readonly path: string;
  /** Exactly `count` bytes, in fresh memory. */
  take(count: number): Promise<Uint8Array>;
  /** Fails when bytes are left. */
  end(): Promise<void>;
  close(): void;
}

/** Reads a file, unpacked on the way when its name ends in `.gz`. */
export function byteReader(path: string): ByteReader {
  const file = createReadStream(path, { highWaterMark: 1_048_576 });
  const source = path.endsWith('.gz') ? file.pipe(createGunzip({ chunkSize: 262_144 })) : file;
  if (source !== file) file.once('error', (error) => source.destroy(error));
  const chunks = (source as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  const more = async (): Promise<boolean> => {
    let next: IteratorResult<Uint8Array>;
    try {
      next = await chunks.next();
    } catch (cause) {
      throw new SecureTrainingError('CONFIG_INVALID', `${path} cannot be read`, { cause });
    }
    if (next.done !== true) rest = next.value;
    return next.done !== true;
  };
  return {
    path,
    async take(count) {
      const out = new Uint8Array(count);
      for (let filled = 0; filled < count; ) {
        if (rest.length === 0 && !(await more())) throw invalid(path, 'it ends too early');
        const part = rest.subarray(0, count - filled);
        out.set(part, filled);
        filled += part.length;
        rest = rest.subarray(part.length);
      }
      return out;
    },
    async end() {
      if (rest.length > 0 || (await more())) throw invalid(path, 'it is longer than its header says');
    },
    close() {
      file.destroy();
      source.destroy();
    },
  };
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
