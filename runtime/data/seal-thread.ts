import { parentPort } from 'node:worker_threads';
import { type SealedShard, type ShardToSeal, sealShard } from './seal-shard.ts';

/** What a thread answers. An error is sent in parts: whole, it would arrive without its code. */
export type SealAnswer =
  | { readonly sealed: SealedShard }
  | { readonly failure: { readonly message: string; readonly code?: string; readonly syscall?: string } };

/** Entry point of a sealing thread: one shard at a time, an answer for each. seal-in-threads.ts starts and ends it. */
parentPort?.on('message', async (shard: ShardToSeal) => parentPort?.postMessage(await answerTo(shard)));

async function answerTo(shard: ShardToSeal): Promise<SealAnswer> {
  try {
    return { sealed: await sealShard(shard) };
  } catch (error) {
    if (!(error instanceof Error)) return { failure: { message: String(error) } };
    const { message, code, syscall } = error as NodeJS.ErrnoException;
    return {
      failure: { message, ...(code === undefined ? {} : { code }), ...(syscall === undefined ? {} : { syscall }) },
    };
  }
}
