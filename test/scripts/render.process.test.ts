import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stableJson } from '../../scripts/render.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NODE = join(ROOT, 'node_modules', '.bin', 'node');
/** What a checkout needs to be rendered. */
const SOURCES = ['stacks', 'constructs', 'runtime', 'scripts', 'emulator', 'environments', 'package.json'];
const folders: string[] = [];

/** A checkout of its own, which may have other environments than ours. */
async function checkout(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-render-'));
  folders.push(folder);
  for (const name of SOURCES) {
    const filter = (path: string) => !path.includes('node_modules');
    await cp(join(ROOT, name), join(folder, name), { recursive: true, filter });
  }
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

function render(folder: string, ...args: readonly string[]) {
  return new Promise<{ code: number; out: string; err: string }>((done) => {
    execFile(NODE, [join(folder, 'scripts', 'render.ts'), ...args], { cwd: folder }, (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

async function contents(folder: string): Promise<Record<string, string>> {
  const paths = await readdir(join(folder, 'rendered'), { recursive: true });
  const files = paths.filter((path) => path.endsWith('.json')).sort();
  const texts = await Promise.all(files.map((path) => readFile(join(folder, 'rendered', path), 'utf8')));
  return Object.fromEntries(files.map((path, i) => [path, texts[i] ?? '']));
}

let one: string;
let other: string;
beforeAll(async () => {
  one = await checkout();
  other = await checkout();
  await Promise.all([render(one), render(other)]);
});
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

test('two folders have the same bytes, in order, without a path of this machine', async () => {
  const written = await contents(one);
  expect(Object.keys(written)).toEqual(
    ['data-owner', 'platform', 'training'].map((stack) => join('example', stack, 'cdk.tf.json')),
  );
  expect(await contents(other)).toEqual(written);
  for (const text of Object.values(written)) {
    expect(text).toBe(stableJson(JSON.parse(text)));
    for (const path of [ROOT, one, other, tmpdir()]) expect(text).not.toContain(`${path}/`);
  }
});

describe('--check', () => {
  test('finds fresh files fresh', async () => {
    expect(await render(one, '--check')).toMatchObject({ code: 0, out: '3 files are fresh\n' });
  });

  test('names what is changed, missing or left over, and changes nothing; rendering puts it right', async () => {
    const before = await contents(other);
    const at = (stack: string) => join(other, 'rendered', stack, 'cdk.tf.json');
    await writeFile(at('example/platform'), (await readFile(at('example/platform'), 'utf8')).replace('false', 'true'));
    await rm(at('example/training'));
    await mkdir(dirname(at('gone/training')), { recursive: true });
    await writeFile(at('gone/training'), '{}');
    const changed = await contents(other);
    const lines = ['example/platform', 'example/training', 'gone/training'].map((stack) => `${stack}/cdk.tf.json`);
    expect(await render(other, '--check')).toMatchObject({
      code: 10,
      out: lines.map((line) => `stale: ${line}\n`).join(''),
    });
    expect(await contents(other)).toEqual(changed);
    expect((await render(other)).out).toBe(`written: ${lines[0]}\nwritten: ${lines[1]}\nremoved: ${lines[2]}\n`);
    expect(await contents(other)).toEqual(before);
  });

  test('a changed environment makes its files stale, a wrong one is told and nothing is written', async () => {
    const folder = await checkout();
    const file = join(folder, 'environments', 'example.json');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('"count": 1', '"count": 0'));
    const { code, err } = await render(folder);
    expect(code).toBe(2);
    expect(err).toBe(
      'error: example.json: training.count: found 0, wanted a whole number from 1 to 100 [CONFIG_INVALID]\n',
    );
    expect(await readdir(folder)).not.toContain('rendered');
  });
});

test('a flag there is not is told in one line', async () => {
  const { code, err } = await render(one, '--chek');
  expect([code, err]).toEqual([
    2,
    "error: Unknown option '--chek'; usage: render.ts [--check] [--out FOLDER] [CONFIG_INVALID]\n",
  ]);
});

test('one value has one text, whatever the order of its members', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const reversed = JSON.parse(JSON.stringify(value), (_, item: unknown) =>
        typeof item === 'object' && item !== null && !Array.isArray(item)
          ? Object.fromEntries(Object.entries(item).reverse())
          : item,
      );
      expect(stableJson(reversed)).toBe(stableJson(value));
      expect(JSON.parse(stableJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});
