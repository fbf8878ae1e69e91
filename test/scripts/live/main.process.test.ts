import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { STEPS } from '../../../scripts/live/plan.ts';
import { BY_HAND } from '../../../scripts/live/questions.ts';

const MAIN = new URL('../../../scripts/live/main.ts', import.meta.url).pathname;

function live(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('--list prints the plan and does nothing', () => {
  const { status, stdout } = live('--list');
  expect(status).toBe(0);
  const lines = stdout.trim().split('\n');
  expect(lines).toHaveLength(STEPS.length + Object.keys(BY_HAND).length);
  for (const { name, does } of STEPS) expect(stdout).toContain(`${name.padEnd(24)}${does}`);
  const json = JSON.parse(live('--list', '--json', '--only', 'M3').stdout) as object[];
  expect(json).toEqual([expect.objectContaining({ name: 'pcrs', file: 'pcrs.json' })]);
});

test('warns of what will be in the folder, and leaves none without a vTPM', () => {
  const out = join(mkdtempSync(join(tmpdir(), 'live-')), 'capture');
  const { status, stderr } = live('--out', out, '--tpm', join(out, 'no-tpm'));
  expect(stderr).toContain(`WARNING: ${out} will hold attestation tokens and release replies. Use throw-away keys`);
  expect(stderr).toContain('error: no vTPM at ');
  expect(status).toBe(5);
  expect(existsSync(out)).toBe(false);
});

test.each([
  [['--only', 'A1,Z9', '--list'], 'error: --only: found "Z9", wanted ids such as A1,K2 [CONFIG_INVALID]'],
  [['--only', 'K5', '--list'], "error: K5 is answered by hand: keep rows of one run from the vault's audit log"],
  [[], 'error: live wants --out FOLDER [CONFIG_INVALID]'],
  [['--out', 'x', '--key', 'name'], 'error: --key: found "name", wanted NAME/VERSION [CONFIG_INVALID]'],
  [['--out', 'x', '--authority', 'https://h/'], 'error: --authority: found "https://h/", wanted https://HOST'],
  [['--out', 'x', '--wrong'], "unknown option '--wrong'"],
])('%j ends with 2 and says why', (args, message) => {
  const { status, stderr } = live(...args);
  expect(stderr).toContain(message);
  expect(status).toBe(2);
});
