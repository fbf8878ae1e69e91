import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readEventLog } from '../../../runtime/tpm/event-log-file.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'event-log-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each<[string, Uint8Array | undefined, Uint8Array | undefined]>([
  ['there', Uint8Array.of(1, 2), Uint8Array.of(1, 2)],
  ['empty', new Uint8Array(), undefined],
  ['absent', undefined, undefined],
])('a log that is %s', async (name, content, wanted) => {
  const path = join(folder, name);
  if (content !== undefined) await writeFile(path, content);
  expect(readEventLog(path)).toEqual(wanted);
});
