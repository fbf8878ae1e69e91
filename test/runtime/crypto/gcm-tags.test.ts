import { createDecipheriv } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const CALL = /\bcreate(?:C|Dec)ipheriv\(([^;]*?)\)\s*(?:;|\.)/gs;

/** Arguments of every cipher that is made below these folders, by file. */
function ciphers(): { readonly file: string; readonly args: string }[] {
  return ['runtime', 'scripts'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) => {
        const file = join(folder, name);
        const source = readFileSync(join(ROOT, file), 'utf8');
        return [...source.matchAll(CALL)].map(([, args = '']) => ({ file, args }));
      }),
  );
}

test('every GCM cipher fixes its tag at 16 bytes: else Node takes one of four', () => {
  const gcm = ciphers().filter(({ args }) => !args.startsWith('kwpCipher('));
  expect(gcm.length).toBeGreaterThanOrEqual(3);
  for (const { file, args } of gcm) expect(`${file}: ${args}`).toMatch(/\{ authTagLength: (?:16|TAG_LENGTH) \}$/);
});

test('so fixed, a shorter tag is refused by Node itself', () => {
  const open = (length: number) =>
    createDecipheriv('aes-256-gcm', new Uint8Array(32), new Uint8Array(12), { authTagLength: 16 }).setAuthTag(
      new Uint8Array(length),
    );
  for (const length of [4, 8, 12, 13, 14, 15]) expect(() => open(length)).toThrow('Invalid authentication tag length');
  expect(() => open(16)).not.toThrow();
});
