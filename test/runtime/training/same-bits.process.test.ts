import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunWorkerOptions, runWorker, type WorkerResult } from '../../../runtime/training/broker-side.ts';
import { hasNative, NATIVE_DIR } from './native/setup.ts';
import { bundledWorker, testData } from './worker-setup.ts';

const hasNamespaces = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true']).status === 0;
const CHANGE = { epochs: 6, schedule: 'cosine' } as const;
const STEPS = 36;
/** Starting a worker is most of it. */
const TIMEOUT_MS = 120_000;

describe.each([
  { backend: 'wasm', nativeDir: undefined, skip: false },
  { backend: 'native', nativeDir: NATIVE_DIR, skip: !hasNative || !hasNamespaces },
])('on $backend', ({ backend, nativeDir, skip }) => {
  describe.skipIf(skip)('the same bits', () => {
    let worker: Awaited<ReturnType<typeof bundledWorker>>;
    let undisturbed: WorkerResult;
    const checkpoints = new Map<number, Uint8Array>();

    beforeAll(async () => {
      worker = await bundledWorker(nativeDir);
      const onCheckpoint = async (step: number, bytes: Uint8Array) => void checkpoints.set(step, bytes);
      undisturbed = await run({ ...testData(CHANGE), onCheckpoint });
      expect(undisturbed.steps).toBe(STEPS);
    }, TIMEOUT_MS);
    afterAll(() => worker?.remove());

    async function run(options: RunWorkerOptions): Promise<WorkerResult> {
      const handle = await worker.start();
      try {
        expect(handle.engine.backend).toBe(backend);
        return await runWorker(handle, options);
      } finally {
        await handle.stop();
      }
    }

    test(
      'killed 20 times in one run',
      async () => {
        let state = 5;
        const random = (below: number) => {
          state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
          return (state >>> 8) % below;
        };
        let kept: { step: number; bytes: Uint8Array } | undefined;
        for (let kill = 0; kill < 20; kill++) {
          const handle = await worker.start();
          const first = kept?.step ?? 0;
          // Killed after a step or two of its own; one in three times as if the store had kept nothing of them.
          const victim = first + 1 + random(2);
          const keep = random(3) > 0;
          const killed = runWorker(handle, {
            ...testData(CHANGE),
            ...(kept === undefined ? {} : { resume: kept.bytes }),
            async onCheckpoint(step, bytes) {
              if (keep && step <= victim) kept = { step, bytes };
              if (step === victim) process.kill(handle.pid, 'SIGKILL');
            },
          });
          await expect(killed).rejects.toMatchObject({
            code: 'UNAVAILABLE',
            message: expect.stringContaining('worker was ended by SIGKILL'),
          });
        }
        const last = kept;
        if (last === undefined) throw new Error('nothing was kept');
        expect(last.step).toBeLessThan(STEPS);
        expect(await run({ ...testData(CHANGE), resume: last.bytes })).toEqual(undisturbed);
      },
      TIMEOUT_MS,
    );

    test.each([
      ['one reader', 1],
      ['two readers, the second the faster', 2],
    ])(
      'going on with %s',
      async (_, readers) => {
        const resume = checkpoints.get(13);
        if (resume === undefined) throw new Error('no checkpoint');
        const data = testData(CHANGE);
        const opened: string[] = [];
        let turn: Promise<unknown> = Promise.resolve();
        /** With one reader a shard is opened when the one before it is; with two, the earlier of a pair comes last. */
        const openShard = async (split: string, index: number) => {
          if (readers === 1) {
            const before = turn;
            const mine = before.then(() => data.openShard(split, index));
            turn = mine;
            const bytes = await mine;
            opened.push(`${split}/${index}`);
            return bytes;
          }
          const late = opened.length % 2 === 0;
          opened.push(`${split}/${index}`);
          // Long after the answer to what is asked for next, if anything is.
          for (let i = 0; late && i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
          return data.openShard(split, index);
        };
        expect(await run({ ...data, openShard, resume })).toEqual(undisturbed);
        expect(opened.length).toBeGreaterThan(10);
      },
      TIMEOUT_MS,
    );
  });
});
