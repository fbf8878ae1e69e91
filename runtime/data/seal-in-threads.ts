import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, EXIT_CODES, SecureTrainingError } from '../errors.ts';
import { type SealedShard, type ShardToSeal, sealShard } from './seal-shard.ts';
import type { SealAnswer } from './seal-thread.ts';

/** A thread takes some 0.3 s to start; without one, about this much is sealed meanwhile. */
const BYTES_WORTH_A_THREAD = 134_217_728;

/** How many jobs are worth it for so many bytes of rows. */
export function defaultJobs(bytes: number): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(bytes / BYTES_WORTH_A_THREAD)));
}

/**
 * Seals shards in the order they come, `jobs` of them at a time, each in a thread of its own (one job: in this thread).
 * No more than `jobs` and one are held: the next is asked for when one is done. Rows are moved, not copied, into the
 * thread. However it ends, nothing is still writing afterwards.
 */
export async function* sealInThreads(shards: AsyncIterable<ShardToSeal>, jobs: number): AsyncGenerator<SealedShard> {
  if (jobs === 1) {
    yield* sealInTurn(shards);
    return;
  }
  // In turn: a thread gets its next shard when its last one has been handed on, so what comes out is in order.
  const threads: Worker[] = [];
  const turns: Promise<SealedShard>[] = [];
  let next = 0;
  try {
    for await (const shard of shards) {
      const last = turns[next];
      if (last !== undefined) yield await last;
      const thread = threads[next] ?? new Worker(new URL('./seal-thread.ts', import.meta.url));
      const sealed = sealIn(thread, shard);
      // Awaited in its turn: without this a failure in between would be an unhandled rejection.
      sealed.catch(() => undefined);
      threads[next] = thread;
      turns[next] = sealed;
      next = (next + 1) % jobs;
    }
    for (const sealed of [...turns.slice(next), ...turns.slice(0, next)]) yield await sealed;
  } finally {
    await Promise.allSettled(turns);
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

/** One is sealed while the one before is on its way to the disk. */
async function* sealInTurn(shards: AsyncIterable<ShardToSeal>): AsyncGenerator<SealedShard> {
  let last: Promise<SealedShard> | undefined;
  try {
    for await (const shard of shards) {
      const sealed = sealShard(shard);
      sealed.catch(() => undefined);
      if (last !== undefined) yield await last;
      last = sealed;
    }
    if (last !== undefined) yield await last;
  } finally {
    await Promise.allSettled([last]);
  }
}

function sealIn(thread: Worker, shard: ShardToSeal): Promise<SealedShard> {
  return new Promise((resolve, reject) => {
    const listeners = {
      message: (answer: SealAnswer) => {
        settled();
        if ('sealed' in answer) resolve(answer.sealed);
        else reject(rebuilt(answer.failure));
      },
      error: (error: unknown) => {
        settled();
        reject(error);
      },
      exit: (code: number) => {
        settled();
        reject(new Error(`a sealing thread ended with exit code ${code}`));
      },
    };
    // These alone: removeAllListeners would take away Node's own, without which the thread's port is never read again.
    const settled = () => {
      for (const [event, listener] of Object.entries(listeners)) thread.off(event, listener);
    };
    for (const [event, listener] of Object.entries(listeners)) thread.on(event, listener);
    const { rows } = shard;
    const moved = 'bytes' in rows ? [rows.bytes.buffer] : [rows.features.buffer, rows.labels.buffer];
    thread.postMessage(shard, moved as ArrayBuffer[]);
  });
}

function rebuilt({ message, code, syscall }: Extract<SealAnswer, { failure: unknown }>['failure']): Error {
  if (code !== undefined && Object.hasOwn(EXIT_CODES, code)) return new SecureTrainingError(code as ErrorCode, message);
  return Object.assign(new Error(message), { code, syscall });
}
