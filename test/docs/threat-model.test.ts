import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { APPRAISE_CHECKS } from '../../runtime/attestation/appraise.ts';
import { VERIFY_CHECKS } from '../../runtime/attestation/verify.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const text = readFileSync(join(ROOT, 'docs/threat-model.md'), 'utf8');

interface Row {
  readonly attack: string;
  readonly control: string;
  readonly test: string;
  /** Empty where the table has no such column. */
  readonly open: string;
}

/** Rows of the table below a heading, by the names of its columns. */
function rowsBelow(heading: string): readonly Row[] {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  const [columns = [], , ...rows] = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const cell = (row: readonly string[], name: string) => row[columns.indexOf(name)] ?? '';
  return rows.map((row) => ({
    attack: cell(row, 'attack'),
    control: cell(row, 'control'),
    test: cell(row, 'test'),
    open: cell(row, 'open'),
  }));
}

const hardware = rowsBelow('Attacks on the hardware');
const protocol = rowsBelow('Attacks on the protocol');
const rows = [...hardware, ...protocol];

test('every attack has a test, or says what is left open', () => {
  expect(hardware.length).toBeGreaterThanOrEqual(7);
  expect(protocol.length).toBeGreaterThanOrEqual(15);
  const bare = rows.filter(({ test: cell, open }) => (cell === '' || cell === 'none') && open === '');
  expect(bare).toEqual([]);
  // A row without a test has a paragraph that says why.
  const untested = rows.filter(({ test: cell }) => cell === 'none').map(({ attack }) => attack.split(',')[0] ?? '');
  expect(untested.filter((name) => !new RegExp(`^\\*\\*${name}[^*]*\\*\\*`, 'm').test(text))).toEqual([]);
});

test.each([
  'arXiv 2605.12990',
  'CVE-2024-56161',
  'AMD-SB-3015',
  'CVE-2023-20592',
  'Heracles',
  'StackWarp',
  'CVE-2025-49707',
])('the table knows %s', (name) => {
  expect(hardware.filter(({ attack }) => attack.includes(name))).toHaveLength(1);
});

test('every test that the tables name exists', () => {
  const absent = rows.flatMap(({ attack, test: cell }) => {
    let folder = '';
    return [...cell.matchAll(/`([^`]+\.test\.ts)`/g)].flatMap(([, name = '']) => {
      // "`x.test.ts` beside it" lies where the one before does.
      const path = name.includes('/') ? name : join(folder, name);
      folder = dirname(path);
      return existsSync(join(ROOT, path)) ? [] : [`${attack}: ${path}`];
    });
  });
  expect(absent).toEqual([]);
});

test('every name that they quote stands in a test of their row', () => {
  const checks = new Set([...VERIFY_CHECKS, ...APPRAISE_CHECKS]);
  const unknown = rows.flatMap(({ attack, test: cell }) => {
    const files = [...cell.matchAll(/`([^`]+\/[^`]+\.test\.ts)`/g)].map(([, path = '']) => join(ROOT, path));
    const sources = files.filter((path) => existsSync(path)).map((path) => readFileSync(path, 'utf8'));
    return [...cell.matchAll(/"([^"]+)"/g)]
      .map(([, name = '']) => name)
      .filter((name) => !checks.has(name) && !sources.some((source) => source.includes(name)))
      .map((name) => `${attack}: "${name}"`);
  });
  expect(unknown).toEqual([]);
});
