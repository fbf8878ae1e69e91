import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { unpackTar } from '../../emulator/tar.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { writeTar } from '../../scripts/tar.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ctrain-tar-test-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const archive = writeTar([
  { name: 'a.mjs', bytes: utf8('one') },
  { name: 'b.wasm', bytes: new Uint8Array(1025).fill(7) },
]);

test('unpacks what the bundle builder packs', () => {
  expect(unpackTar(archive, directory)).toEqual(['a.mjs', 'b.wasm']);
  expect(readFileSync(join(directory, 'a.mjs'), 'utf8')).toBe('one');
  expect(readFileSync(join(directory, 'b.wasm')).equals(Buffer.alloc(1025, 7))).toBe(true);
});

/** Puts text at an offset of the first header. */
function changed(offset: number, text: string): Uint8Array {
  const copy = archive.slice();
  copy.set(utf8(text), offset);
  return copy;
}

test.each([
  ['a path upwards', changed(0, '../up\0'), 'archive leads out of its folder: ../up'],
  ['an absolute path', changed(0, '/etc/x\0'), 'archive leads out of its folder: /etc/x'],
  ['a link', changed(156, '2'), 'archive holds something other than files: a.mjs'],
  ['another format', changed(257, 'other'), 'archive is damaged at byte 0'],
  ['a cut file', archive.subarray(0, 2048), 'archive is damaged at byte 1024'],
  ['no end', archive.subarray(0, 3072), 'archive has no end'],
])('refuses %s', (_name, bytes, message) => {
  expect(() => unpackTar(bytes, directory)).toThrow(message);
});
