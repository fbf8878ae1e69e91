import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventTail } from '../../../scripts/watch/event-tail.ts';

let dir: string;
let file: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-tail-'));
});
afterAll(() => rm(dir, { recursive: true }));

const row = (id: number, RunId = 'r', Detail = 'größe') =>
  JSON.stringify({
    TimeGenerated: '2026-11-24T16:00:00Z',
    RunId,
    Machine: 'm',
    Agreement: 'a',
    Event: 'object.opened',
    Outcome: 'success',
    Detail,
    KeyId: '',
    Manifest: '',
    Head: String(id),
  });

async function fresh(text: string): Promise<string> {
  file = join(dir, `${Math.random()}.jsonl`);
  await writeFile(file, text);
  return file;
}

test('reads what was added, a line only once it is whole, and those of the run alone', async () => {
  const read = eventTail(await fresh(`${row(1)}\n${row(2, 'other')}\n`), 'r');
  expect((await read()).map(({ Head }) => Head)).toEqual(['1']);
  const bytes = Buffer.from(`${row(3)}\n`);
  const middle = bytes.indexOf(Buffer.from('ö')) + 1;
  await appendFile(file, bytes.subarray(0, middle));
  expect(await read()).toHaveLength(1);
  await appendFile(file, bytes.subarray(middle));
  expect((await read()).map(({ Head, Detail }) => [Head, Detail])).toEqual([
    ['1', 'größe'],
    ['3', 'größe'],
  ]);
});

test.each(['', 'nonsense\n', '[]\nnull\n7\n', '{"RunId":"r"}\n', '{"RunId":"r","Head":1}\n'])(
  'passes over what is no event: %j',
  async (text) => {
    const read = eventTail(await fresh(`${text}${row(1)}\n`), 'r');
    expect(await read()).toHaveLength(1);
  },
);

test('a flood is read to its end and only the last rows are kept', async () => {
  const all = Array.from({ length: 12_000 }, (_, i) => row(i)).join('\n');
  const events = await eventTail(await fresh(`${all}\n`), 'r')();
  expect(events).toHaveLength(2_000);
  expect(events.at(-1)?.Head).toBe('11999');
});

test('a file that is not there has none, and one that was begun anew is read from its beginning', async () => {
  expect(await eventTail(undefined, 'r')()).toEqual([]);
  expect(await eventTail(join(dir, 'none'), 'r')()).toEqual([]);
  const read = eventTail(await fresh(`${row(1)}\n${row(2)}\n`), 'r');
  expect(await read()).toHaveLength(2);
  await writeFile(file, `${row(9)}\n`);
  expect((await read()).map(({ Head }) => Head)).toEqual(['9']);
});
