import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openAtomic, writeFileAtomic } from '../../../runtime/data/atomic-file.ts';
import { temporaryFolder } from './dataset.ts';

test('writes a whole file, makes its folder, leaves nothing else', async () => {
  const folder = join(await temporaryFolder(), 'deep', 'er');
  await writeFileAtomic(join(folder, 'a.json'), '{}', { mode: 0o600 });
  expect(await readdir(folder)).toEqual(['a.json']);
  expect(await readFile(join(folder, 'a.json'), 'utf8')).toBe('{}');
  expect((await stat(join(folder, 'a.json'))).mode & 0o777).toBe(0o600);
});

test('nothing stands under the name before commit, and nothing at all after discard', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'a'), 'old');
  const file = await openAtomic(join(folder, 'a'));
  await file.write(Uint8Array.of(1, 2, 3));
  expect(await readFile(join(folder, 'a'), 'utf8')).toBe('old');
  await file.discard();
  expect(await readdir(folder)).toEqual(['a']);
});

test('discard after commit keeps the file', async () => {
  const folder = await temporaryFolder();
  const file = await openAtomic(join(folder, 'a'));
  await file.write(Uint8Array.of(7));
  await file.commit();
  await file.discard();
  expect([...(await readFile(join(folder, 'a')))]).toEqual([7]);
});

test('a failed rename leaves no temporary file', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'a', 'b'), { recursive: true });
  await expect(writeFileAtomic(join(folder, 'a'), 'x')).rejects.toThrow();
  expect(await readdir(folder)).toEqual(['a']);
});

test('removes what a killed process left of the same file, and nothing of a live one', async () => {
  const folder = await temporaryFolder();
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  const [dead, live, other] = [
    `.a.${child.pid}-00.partial`,
    `.a.${process.pid}-00.partial`,
    `.b.${child.pid}-00.partial`,
  ];
  for (const name of [dead, live, other]) await writeFile(join(folder, name), 'half');
  await writeFileAtomic(join(folder, 'a'), 'whole');
  expect((await readdir(folder)).sort()).toEqual([live, other, 'a'].sort());
});
