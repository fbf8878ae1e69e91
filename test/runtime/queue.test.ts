import { beforeEach, expect, test } from 'vitest';
import { toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { checkRunId, listRuns, queueRun, readStatus, takeRun, writeStatus } from '../../runtime/queue.ts';
import { memoryStore } from './data/memory-store.ts';

const digest = toHex(new Uint8Array(32).fill(7));
const request = (runId: string) => ({
  version: 1 as const,
  runId,
  agreementDigest: digest,
  requestedAt: '2026-11-23T12:00:00Z',
});
const status = (runId: string, state: 'finished' | 'refused' | 'interrupted') => ({
  version: 1 as const,
  runId,
  state,
  step: 'training',
  updatedAt: '2026-11-23T12:00:00Z',
});

/** A store whose blobs have leases, and times in the order they were written. */
function leasingStore(): BlobStore & { readonly leases: Map<string, string> } {
  const memory = memoryStore();
  const leases = new Map<string, string>();
  const written: string[] = [];
  return {
    ...memory,
    leases,
    put: async (name, bytes, options) => {
      if (!written.includes(name)) written.push(name);
      return memory.put(name, bytes, options);
    },
    async *list(prefix) {
      for await (const blob of memory.list(prefix))
        yield { ...blob, lastModified: new Date(written.indexOf(blob.name)) };
    },
    acquireLease: async (name, leaseId) => {
      if ((leases.get(name) ?? leaseId) !== leaseId) return false;
      leases.set(name, leaseId);
      return true;
    },
    renewLease: async (name, leaseId) => leases.get(name) === leaseId,
    releaseLease: async (name) => {
      leases.delete(name);
    },
  };
}

let runs: ReturnType<typeof leasingStore>;
beforeEach(async () => {
  runs = leasingStore();
  await queueRun(runs, request('run-b'), utf8('agreement'));
  await queueRun(runs, request('run-a'), utf8('agreement'));
});

test('the oldest run is taken first, with its agreement', async () => {
  const taken = await takeRun(runs, 'machine-1');
  expect(taken?.request.runId).toBe('run-b');
  expect(taken?.agreement).toEqual(utf8('agreement'));
});

test('a run that one machine holds is not given to another, but again to itself', async () => {
  await takeRun(runs, 'machine-1');
  expect((await takeRun(runs, 'machine-2'))?.request.runId).toBe('run-a');
  expect((await takeRun(runs, 'machine-1'))?.request.runId).toBe('run-b');
});

test.each(['finished', 'refused'] as const)('a run that is %s is not taken again', async (state) => {
  await writeStatus(runs, status('run-b', state));
  expect((await takeRun(runs, 'machine-1'))?.request.runId).toBe('run-a');
});

test('a run that was interrupted is', async () => {
  await writeStatus(runs, status('run-b', 'interrupted'));
  expect((await takeRun(runs, 'machine-1'))?.request.runId).toBe('run-b');
});

test('an empty queue gives nothing, and a folder without a request is no run', async () => {
  const empty = leasingStore();
  await empty.put('run-c/agreement.dsse.json', utf8('agreement'));
  expect(await takeRun(empty, 'machine-1')).toBeUndefined();
  expect(await listRuns(empty)).toEqual([]);
});

test('a run id is given once', async () => {
  await expect(queueRun(runs, request('run-a'), utf8('other'))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: 'run run-a exists already',
  });
});

test('the queue shows every run with its status', async () => {
  await writeStatus(runs, status('run-a', 'finished'));
  expect((await listRuns(runs)).map(({ request: { runId }, status: found }) => [runId, found?.state])).toEqual([
    ['run-b', undefined],
    ['run-a', 'finished'],
  ]);
  expect(await readStatus(runs, 'run-b')).toBeUndefined();
});

test.each(['', 'Run', '../up', 'run/1', 'a'.repeat(64)])('%j is no run id', (runId) => {
  expect(() => checkRunId(runId)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(`run id '${runId}'`) }),
  );
});

test.each([
  ['not JSON', '{'],
  ['of another run', JSON.stringify(request('run-b'))],
  ['without a digest', JSON.stringify({ ...request('run-x'), agreementDigest: '' })],
])('a request that is %s is refused', async (_, text) => {
  const broken = leasingStore();
  await broken.put('run-x/agreement.dsse.json', utf8('agreement'));
  await broken.put('run-x/run.json', utf8(text));
  await expect(takeRun(broken, 'machine-1')).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('run run-x'),
  });
});
