import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { damaged, damagedJson, FEW_RUNS } from '../hostile.ts';
import { type ParserRow, parserTable } from './parser-table.ts';

const RUNTIME = fileURLToPath(new URL('../../../runtime', import.meta.url));
/** Where evidence, keys and statements of others are read. */
const FOLDERS = ['attestation', 'tpm', 'keys', 'statements'];

let table: Readonly<Record<string, ParserRow>>;

beforeAll(async () => {
  table = await parserTable();
}, 60_000);

/** Passes, or is refused by one of the row's codes; anything else is a bug of the parser. */
async function never({ parse, codes = [] }: ParserRow, bytes: Uint8Array): Promise<void> {
  try {
    await parse(bytes);
  } catch (error) {
    expect(error).toMatchObject({ code: expect.toBeOneOf(['EVIDENCE_MALFORMED', ...codes]) });
    expect((error as Error).message.length).toBeLessThan(10_000);
  }
}

async function forEachRow(property: (row: ParserRow) => Promise<void>): Promise<void> {
  const failed: unknown[] = [];
  for (const [name, row] of Object.entries(table)) {
    await property(row).catch((error: unknown) => failed.push([name, error]));
  }
  expect(failed).toEqual([]);
}

test('every parser of the runtime is in the table', () => {
  const exported = FOLDERS.flatMap((folder) => readdirSync(join(RUNTIME, folder)).map((file) => join(folder, file)))
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [
      ...readFileSync(join(RUNTIME, file), 'utf8').matchAll(
        /^export (?:async )?function ((?:parse|decode|der)[A-Z]\w*)/gm,
      ),
    ])
    .map(([, name]) => name);
  const covered = Object.values(table).flatMap(({ covers = [] }) => covers);
  expect(exported.filter((name) => !covered.includes(name ?? ''))).toEqual([]);
  expect(exported.length).toBeGreaterThan(20);
});

test('every good input passes', async () => {
  await forEachRow(async ({ good, parse, json }) => {
    await parse(good);
    if (json !== undefined) await parse(json.pack(JSON.stringify(json.value)));
  });
});

describe('no input makes a parser throw anything but a refusal', () => {
  test('any bytes', async () => {
    await forEachRow((row) =>
      fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), (bytes) => never(row, bytes)),
        FEW_RUNS,
      ),
    );
  });

  test('a good input that ends early', async () => {
    await forEachRow((row) =>
      fc.assert(
        fc.asyncProperty(fc.nat(row.good.length), (end) => never(row, row.good.slice(0, end))),
        FEW_RUNS,
      ),
    );
  });

  test('a good input that is damaged', async () => {
    await forEachRow((row) =>
      fc.assert(
        fc.asyncProperty(damaged(row.good), (bytes) => never(row, bytes)),
        FEW_RUNS,
      ),
    );
  });

  test('good JSON with other members, packed and signed as if they were meant', async () => {
    await forEachRow(async (row) => {
      const { json } = row;
      if (json === undefined) return;
      await fc.assert(
        fc.asyncProperty(damagedJson(json.value), (text) => never(row, json.pack(text))),
        FEW_RUNS,
      );
    });
  });
});
