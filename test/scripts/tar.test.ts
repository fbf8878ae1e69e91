import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeTar } from '../../scripts/tar.ts';

const entries = [
  { name: 'a.mjs', bytes: new TextEncoder().encode('export {};\n') },
  { name: 'empty', bytes: new Uint8Array(0) },
  { name: 'z.wasm', bytes: new Uint8Array(1024).fill(7) },
];

test('tar itself takes it out, byte for byte, read-only and with the epoch as time', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-tar-'));
  await writeFile(join(dir, 'x.tar'), writeTar(entries));
  const { status, stderr } = spawnSync('tar', ['-xpf', 'x.tar', '--no-same-owner'], { cwd: dir, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  for (const { name, bytes } of entries) {
    expect(new Uint8Array(await readFile(join(dir, name)))).toEqual(bytes);
    const { mode, mtimeMs } = await stat(join(dir, name));
    expect([mode & 0o777, mtimeMs]).toEqual([0o444, 0]);
  }
  await rm(dir, { recursive: true, force: true });
});

test('same entries, same bytes; whole blocks, two of zeros at the end', () => {
  const tar = writeTar(entries);
  expect(writeTar(entries)).toEqual(tar);
  expect(tar.length % 512).toBe(0);
  expect(tar.subarray(-1024).every((byte) => byte === 0)).toBe(true);
});

test.each(['', '../x', 'a/b', 'x'.repeat(101), 'ü'])('refuses the name %j', (name) => {
  expect(() => writeTar([{ name, bytes: new Uint8Array(0) }])).toThrow('wanted a file name of at most 100 characters');
});
