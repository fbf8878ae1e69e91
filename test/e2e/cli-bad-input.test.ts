import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listing, newFolder, run } from './cli-process.ts';
import { configuration, GOOD, MISTAKES } from './mistakes.ts';

let keyFile: string;
const folders: string[] = [];

beforeAll(async () => {
  const folder = await newFolder();
  folders.push(folder);
  await run(folder, 'init');
  keyFile = await readFile(join(folder, 'ctrain-key.json'), 'utf8');
});
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

/** A folder with a key, good rows and a configuration for them, but for the mistake. */
async function folderWith(files: Readonly<Record<string, string | null>>): Promise<string> {
  const folder = await newFolder();
  folders.push(folder);
  const all = { 'ctrain-key.json': keyFile, 'data.csv': GOOD, 'training.json': configuration({}), ...files };
  for (const [name, text] of Object.entries(all)) {
    if (text === null) continue;
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return folder;
}

test.concurrent.each(MISTAKES)('$name: one line, exit code 2, nothing written', async ({ args, files = {}, says }) => {
  const folder = await folderWith(files);
  const before = await listing(folder);
  const { code, out, err } = await run(folder, ...args);
  const message = /^error: (.*) \[CONFIG_INVALID\]\n$/.exec(err)?.[1] ?? `more than one line: ${err}`;
  if (typeof says === 'string') expect(message).toBe(says);
  else expect(message).toMatch(says);
  expect(code).toBe(2);
  expect(out.replace(/^deployment: .*\n/, '')).toBe('');
  expect(await listing(folder)).toEqual(before);
});

test.concurrent.each([
  [
    'a mistake in a file',
    ['runs', '--deployment', 'data.csv', '--json'],
    'data.csv is not a deployment file: wanted version 1, kind azure or emulator',
  ],
  [
    'a mistake in a flag',
    ['runs', '--deploymnt', 'x', '--json'],
    "unknown option '--deploymnt', did you mean --deployment?",
  ],
])('--json tells %s as JSON, and nothing else', async (_, args, message) => {
  const { code, out, err } = await run(await folderWith({}), ...args);
  expect(JSON.parse(out).error).toMatchObject({ code: 'CONFIG_INVALID', message });
  expect([code, err]).toEqual([2, '']);
});

const COMMANDS =
  'init train runs open-model access-log prepare-data encrypt-data upload propose approve publish-trainer publish-revocation-list lock-key review-plan doctor teardown emulator verify demo'.split(
    ' ',
  );

test.concurrent.each(COMMANDS)('help of %s has an example that names its flags right', async (command) => {
  const { code, out } = await run(await folderWith({}), 'help', command);
  expect(code).toBe(0);
  const examples = out.split('\n').filter((line) => /^ {2}\$ (ctrain|npm start)/.test(line));
  expect(examples.length).toBeGreaterThan(0);
  const flags = new Set(out.split('Example')[0]?.match(/(?<=[\s,])--?[a-z][a-z-]*/g));
  for (const flag of examples.join('\n').match(/(?<=\s)--?[a-z][a-z-]*/g) ?? []) expect(flags).toContain(flag);
});

test('without a command: the commands, by the people who use them', async () => {
  const { code, err } = await run(await folderWith({}));
  expect(code).toBe(2);
  for (const group of ['Data scientist, model owner:', 'Data owner:', 'Platform team:', 'Auditor:'])
    expect(err).toContain(group);
  for (const command of COMMANDS) expect(err).toMatch(new RegExp(`^  ${command} `, 'm'));
});
