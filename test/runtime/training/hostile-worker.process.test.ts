import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runWorker, startWorker, type WorkerResult } from '../../../runtime/training/broker-side.ts';
import { testData } from './worker-setup.ts';

/** A worker that learns nothing and hands back what it is told to: the header of its MODEL frame is in `model.json` beside it. */
const WORKER = `
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
const socket = new Socket({ fd: 3, readable: true, writable: true });
const send = (type, header) => {
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(9);
  prefix.writeUInt32LE(5 + json.length, 0);
  prefix.writeUInt8(type, 4);
  prefix.writeUInt32LE(json.length, 5);
  socket.write(Buffer.concat([prefix, json]));
};
send(16, { fileRead: false, fileWrite: false, childProcess: false, workerThreads: false, nativeAddons: false });
send(17, { backend: 'wasm', simd: true, threads: 1, versions: {} });
socket.once('data', () => send(22, JSON.parse(readFileSync(new URL('model.json', import.meta.url), 'utf8'))));
`;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-hostile-'));
  await writeFile(join(dir, 'worker.mjs'), WORKER);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** testData has 40 rows in its test split, and 3 classes. */
async function handBack(scores: unknown): Promise<WorkerResult> {
  await writeFile(join(dir, 'model.json'), JSON.stringify({ modelBytes: 0, metrics: {}, steps: 1, scores }));
  const script = join(dir, 'worker.mjs');
  const worker = await startWorker({ node: process.execPath, script, bundleDir: dir, confine: false });
  try {
    return await runWorker(worker, testData());
  } finally {
    await worker.stop();
  }
}

const diagonal = (...counts: number[]) => counts.map((count, i) => counts.map((_, j) => (i === j ? count : 0)));

test('scores that count each row once are taken', async () => {
  const { scores } = await handBack({ test: diagonal(10, 10, 20) });
  expect(scores).toEqual({ test: diagonal(10, 10, 20) });
});

test.each([
  ['a row more', { test: diagonal(10, 10, 21) }, 'scores of test count 41 rows of 3 classes, wanted 40 of 3'],
  [
    'a row less',
    { validation: diagonal(10, 10, 10) },
    'scores of validation count 30 rows of 3 classes, wanted 31 of 3',
  ],
  ['a class more', { test: diagonal(10, 10, 10, 10) }, 'scores of test count 40 rows of 4 classes, wanted 40 of 3'],
  ['another split', { train: diagonal(1, 1, 1) }, 'header of MODEL: scores is not a scores'],
  ['a count of fractions', { test: diagonal(10.5, 10, 19.5) }, 'header of MODEL: scores is not a scores'],
])('scores with %s are refused', async (_, scores, message) => {
  await expect(handBack(scores)).rejects.toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: expect.stringContaining(message) }),
  );
});
