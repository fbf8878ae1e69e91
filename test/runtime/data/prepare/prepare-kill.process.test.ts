import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

const CLI = join(import.meta.dirname, '../../../../scripts/cli.ts');
/** As many rows as make several pieces for each file. */
const ROWS = 30_000;
const KILLS = 5;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-prepare-kill-'));
  const rows = Array.from(
    { length: ROWS },
    (_, i) => `${i},${(i * 7919) % 10007},${i % 500 === 0 ? 'bad' : i % 97},${i % 3}`,
  );
  await writeFile(join(folder, 'rows.csv'), `a,b,c,label\n${rows.join('\n')}\n`);
});

function prepare(output: string, format: string): ChildProcess {
  const flags = ['--input-path', join(folder, 'rows.csv'), '--output-dir', output, '--output-format', format];
  const bad = ['--on-bad-row', 'reject', '--json'];
  return spawn(process.execPath, [CLI, 'prepare-data', ...flags, ...bad], { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function contents(output: string): Promise<Record<string, string>> {
  const names = (await readdir(output)).sort();
  const files = names.map(async (name) => [name, (await readFile(join(output, name))).toString('base64')] as const);
  return Object.fromEntries(await Promise.all(files));
}

/** Counts what happens in the output folder, and kills at one of these instants. */
async function run(output: string, format: string, killAt = Number.POSITIVE_INFINITY): Promise<number> {
  await mkdir(output, { recursive: true });
  const child = prepare(output, format);
  let events = 0;
  const watcher: FSWatcher = watch(output, () => {
    if (++events === killAt) child.kill('SIGKILL');
  });
  await once(child, 'exit');
  watcher.close();
  return events;
}

describe.each(['csv', 'arrow', 'parquet'])('kill -9 of prepare-data, %s', (format) => {
  test('leaves nothing that looks whole and is not, and a rerun gives the same bytes', async () => {
    const undisturbed = join(folder, `${format}-whole`);
    const instants = await run(undisturbed, format);
    const whole = await contents(undisturbed);
    expect(Object.keys(whole)).toContain('rejected.jsonl');
    const output = join(folder, format);
    // What another format left is plaintext too: at the end it must be gone, whenever the runs in between ended.
    await run(output, format === 'csv' ? 'arrow' : 'csv');
    for (let kill = 0; kill < KILLS; kill++) {
      // Spread over the run; the last ones fall among the renames, which follow each other fast.
      await run(output, format, 1 + Math.floor((instants * kill) / KILLS));
      const left = await contents(output).catch(() => ({}));
      // Where there is a description, all that it describes is there, and complete.
      if ('dataset.json' in left && `train.${format}` in left) expect(left).toMatchObject(whole);
      const isShared = (name: string) => name in whole && name.endsWith(`.${format}`);
      for (const [name, bytes] of Object.entries(left)) if (isShared(name)) expect(bytes === whole[name]).toBe(true);
    }
    await run(output, format);
    expect(await contents(output)).toEqual(whole);
    await rm(output, { recursive: true });
  });
});
