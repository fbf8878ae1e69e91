import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { CUSTOM_CODE_FILE } from '../../runtime/catalogue.ts';
import { adoptWorker, type WorkerHandle } from '../../runtime/training/broker-side.ts';
import { frameChannel } from '../../runtime/training/frame-channel.ts';
import { serveSession } from '../../runtime/training/worker-session.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import { NATIVE_DIR } from '../bundle.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { wasmFolder } from './predict.ts';

/** Its folder of custom modules, as a stack names it. */
const FOLDER = 'ctrain-worker-';

/** An error's text with the lines of its stack that are in the author's own files. */
export function ownLines(text: string): string {
  const lines = text.split('\n').filter((line) => !/^\s+at /.test(line) || line.includes(FOLDER));
  return lines.map((line) => line.replace(/(?:file:\/\/)?[^\s(]*\/ctrain-worker-[^/]+\//, '')).join('\n');
}

/**
 * The worker's own code in this process, confined by nothing: for rows that are plain anyway. What it does with them, down to the last
 * bit of the weights, is what a worker in a trainer does.
 * @param custom modules that the configuration names, bundled
 */
export async function workerHere(
  { training: { backend } }: TrainingConfig,
  custom: CustomBundle | undefined,
): Promise<WorkerHandle> {
  // TensorFlow's own log; read when its libraries are loaded.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const folder = await mkdtemp(join(tmpdir(), FOLDER));
  if (custom !== undefined) await writeFile(join(folder, CUSTOM_CODE_FILE), custom.bytes);
  const [ours, theirs] = duplexPair();
  const computing = {
    wasmDir: wasmFolder(),
    nativeDir: NATIVE_DIR,
    ...(backend === undefined || backend === 'auto' ? {} : { backend }),
  };
  const ended = serveSession(frameChannel(theirs), computing, folder)
    .then(
      (done) => (done ? 'ended' : 'ended with an error'),
      // Its channel was closed in the middle of something, by stop.
      () => 'was stopped',
    )
    .finally(() => theirs.end());
  const stop = async () => {
    ours.destroy();
    theirs.destroy();
    // A write that nobody will read is never told: then the session waits for ever, and is forgotten.
    await Promise.race([ended, setImmediate()]);
    await rm(folder, { recursive: true, force: true });
  };
  return adoptWorker({ socket: ours, pid: process.pid, ended, output: () => '', stop });
}
