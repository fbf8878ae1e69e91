import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { readArrowFile } from '../../../../runtime/data/arrow-file.ts';
import { parseCeiling } from '../../../../runtime/data/prepare/bad-rows.ts';
import { parseRange } from '../../../../runtime/data/prepare/columns.ts';
import { parseMissing } from '../../../../runtime/data/prepare/missing.ts';
import type { PrepareOptions } from '../../../../runtime/data/prepare/options.ts';
import { prepareData } from '../../../../runtime/data/prepare/prepare.ts';
import { readPreparedRows } from '../../../../runtime/data/prepared-rows.ts';
import { SPLITS } from '../../../../runtime/statements/manifest.ts';
import { rejection } from '../../rejection.ts';

let folder: string;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-table-'));
  output = join(folder, 'processed');
});

async function prepare(name: string, text: string | Uint8Array, options: Partial<PrepareOptions> = {}) {
  const inputPath = join(folder, name);
  await writeFile(inputPath, text);
  return prepareData({ inputPath, outputDir: output, name: 'rows', ...options });
}

const lines = async (split: string) => (await readFile(join(output, `${split}.csv`), 'utf8')).trimEnd().split('\n');
const allLines = async () => (await Promise.all(SPLITS.map(lines))).flatMap(([, ...body]) => body);

/** Rows of one table in every form: 300 of two numbers and a class. */
const ROWS = Array.from({ length: 300 }, (_, i) => ({ a: i / 4, b: (i * 7) % 11, label: i % 3 }));
const asCsv = (delimiter: string) =>
  `${[['a', 'b', 'label'], ...ROWS.map(({ a, b, label }) => [a, b, label])].map((row) => row.join(delimiter)).join('\n')}\n`;
const asJsonl = () => `${ROWS.map((row) => JSON.stringify(row)).join('\n')}\n`;

async function writeParquet(name: string, sql: string): Promise<string> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const path = join(folder, name);
  await connection.run(`COPY (${sql}) TO '${path}' (FORMAT parquet)`);
  connection.closeSync();
  instance.closeSync();
  return path;
}

const SAME_ROWS = 'SELECT i / 4.0 AS a, ((i * 7) % 11)::TINYINT AS b, (i % 3)::BIGINT AS label FROM range(300) AS t(i)';

describe('every form of one table gives the same dataset', () => {
  test.each([
    ['rows.tsv', async () => asCsv('\t')],
    ['rows.jsonl', async () => asJsonl()],
    ['rows.ndjson', async () => `\uFEFF\n${asJsonl()}\n\n`],
    ['rows.parquet', async () => readFile(await writeParquet('made.parquet', SAME_ROWS))],
  ])('%s', async (name, make) => {
    const csv = await prepare('rows.csv', asCsv(','), { outputFormat: 'arrow' });
    const before = await Promise.all(SPLITS.map((split) => readFile(join(output, `${split}.arrow`))));
    const other = await prepare(name, await make(), { outputFormat: 'arrow' });
    expect(other.description.schema).toEqual(csv.description.schema);
    expect(other.description.splits).toEqual(csv.description.splits);
    const after = await Promise.all(SPLITS.map((split) => readFile(join(output, `${split}.arrow`))));
    expect(after.map((bytes, i) => bytes.equals(before[i] ?? Buffer.alloc(0)))).toEqual([true, true, true]);
  });

  test.each(['csv', 'arrow', 'parquet'] as const)('written as %s they are sealed alike', async (outputFormat) => {
    const { description } = await prepare('rows.csv', asCsv(','), { outputFormat });
    const found: string[] = [];
    for (const split of SPLITS) {
      const path = join(output, `${split}.${outputFormat}`);
      let rows = 0;
      for await (const { features, labels } of readPreparedRows(path, description.schema, split, 7)) {
        labels.forEach((label, r) => void found.push([...features.subarray(2 * r, 2 * r + 2), label].join(',')));
        rows += labels.length;
      }
      expect(rows).toBe(description.splits[split].rows);
    }
    expect(found.sort()).toEqual(ROWS.map(({ a, b, label }) => [a, b, label].join(',')).sort());
  });
});

test('the same options give the same Parquet bytes', async () => {
  const bytes = async () => {
    await prepare('rows.csv', asCsv(','), { outputFormat: 'parquet' });
    return (await readFile(join(output, 'train.parquet'))).toString('base64');
  };
  expect(await bytes()).toBe(await bytes());
});

test('lists of one length are columns of their own', async () => {
  const jsonl = Array.from({ length: 60 }, (_, i) => JSON.stringify({ point: [i, 2 * i], y: i % 2 })).join('\n');
  expect((await prepare('a.jsonl', jsonl)).description.schema.columns).toEqual(['point_0', 'point_1']);
  const path = await writeParquet('a.parquet', 'SELECT [i, 2 * i] AS point, i % 2 AS y FROM range(60) AS t(i)');
  const { schema } = (await prepareData({ inputPath: path, outputDir: output })).description;
  expect(schema.columns).toEqual(['point_0', 'point_1']);
});

const PEOPLE = `id,person,age,city,label\n${Array.from(
  { length: 400 },
  (_, i) =>
    `${i},p${i % 40},${i % 9 === 0 ? '' : 20 + (i % 50)},${['Oslo', 'Rome', ''][i % 3]},${i % 5 === 0 ? 'ill' : 'well'}`,
).join('\n')}\n`;

describe('columns have roles', () => {
  const roles = { drop: ['id', 'person'], categorical: ['city'], missing: { kind: 'mean' } } as const;

  test('categories become columns of 0 and 1, known from train alone; means too', async () => {
    const { description } = await prepare('p.csv', PEOPLE, roles);
    expect(description.schema.columns).toEqual(['age', 'city=Oslo', 'city=Rome']);
    const ages = (await lines('train')).slice(1).map((line) => line.split(',').map(Number));
    expect(ages.every(([, oslo = 0, rome = 0]) => oslo + rome <= 1 && oslo * rome === 0)).toBe(true);
    const filledWith = description.schema.coding?.fill.age ?? Number.NaN;
    expect(description.schema.coding).toMatchObject({ names: 'one-hot', categories: { city: ['Oslo', 'Rome'] } });
    const filled = ages.filter(([age]) => age === filledWith);
    expect(filled.length).toBeGreaterThan(10);
    // Of the rows that have one: a filled value does not count for the mean that it is.
    const known = ages.map(([age = 0]) => age).filter((age) => Number.isInteger(age));
    expect(filledWith).toBeCloseTo(known.reduce((sum, age) => sum + age, 0) / known.length, 9);
  });

  test('ordinal codes count from 1 in sorted order, 0 is none of them', async () => {
    await prepare('p.csv', PEOPLE, { ...roles, coding: 'ordinal' });
    expect(new Set((await allLines()).map((line) => line.split(',')[1]))).toEqual(new Set(['0', '1', '2']));
  });

  test('rows of one group are never in two splits', async () => {
    const groups = fc.record({ seed: fc.nat(), people: fc.integer({ min: 20, max: 80 }) });
    await fc.assert(
      fc.asyncProperty(groups, async ({ seed, people }) => {
        const rows = Array.from({ length: 600 }, (_, i) => `p${(i * 31) % people},${i},${i % 2}`);
        await prepare('g.csv', `person,x,label\n${rows.join('\n')}\n`, { group: 'person', seed });
        const seen = new Map<string, string>();
        for (const split of SPLITS) {
          for (const line of (await lines(split)).slice(1)) {
            const person = `p${(Number(line.split(',')[0]) * 31) % people}`;
            expect(seen.get(person) ?? split).toBe(split);
            seen.set(person, split);
          }
        }
      }),
      { numRuns: 8, seed: 3 },
    );
  });

  test('stratified: every class has its share of every split', async () => {
    const rows = Array.from({ length: 2000 }, (_, i) => `${i},${i % 20 === 0 ? 'rare' : 'common'}`);
    const { report } = await prepare('s.csv', `x,label\n${rows.join('\n')}\n`, { stratify: true });
    expect(report.classes).toEqual([
      {
        name: 'common',
        train: expect.closeTo(1520, -1),
        validation: expect.closeTo(190, -1),
        test: expect.closeTo(190, -1),
      },
      { name: 'rare', train: 80, validation: 10, test: 10 },
    ]);
  });

  test('missing: rows are left out and counted, or filled with a constant', async () => {
    const { rows, report } = await prepare('p.csv', PEOPLE, { ...roles, missing: { kind: 'drop-row' } });
    expect(report.incomplete).toBe(400 - rows);
    expect((await allLines()).every((line) => !line.includes(',,') && !line.startsWith(','))).toBe(true);
    await prepare('p.csv', PEOPLE, { ...roles, missing: { kind: 'constant', value: -1 } });
    expect((await allLines()).filter((line) => line.startsWith('-1,')).length).toBe(Math.ceil(400 / 9));
  });
});

const withBad = (count: number, of = 300) =>
  `a,label\n${Array.from({ length: of }, (_, i) => `${i < count ? 'SECRET' : i},${i % 2}`).join('\n')}\n`;

describe('bad rows put aside', () => {
  test('line and reason of each are listed, never a value', async () => {
    const { rows, report } = await prepare('b.csv', withBad(2), { onBadRow: 'reject' });
    expect([rows, report.rejected]).toEqual([298, 2]);
    const listed = (await readFile(join(output, 'rejected.jsonl'), 'utf8')).trimEnd().split('\n');
    expect(listed.map((line) => JSON.parse(line))).toEqual([
      { line: 2, column: 'a', reason: 'found something else, wanted a number' },
      { line: 3, column: 'a', reason: 'found something else, wanted a number' },
    ]);
    expect(listed.join()).not.toContain('SECRET');
    await prepare('b.csv', withBad(0), { onBadRow: 'fail' });
    expect(await readdir(output)).not.toContain('rejected.jsonl');
  });

  test.each([
    ['a share', {}, 'found 4 bad rows of 300, wanted at most 1 %; the first is line 2, column a'],
    ['a number', { maxRejected: { rows: 3 } }, 'found more than 3 bad rows; the first is line 2, column a'],
  ])('up to %s of them', async (_, options, message) => {
    const refused = prepare('b.csv', withBad(4), { onBadRow: 'reject', ...options });
    await expect(refused).rejects.toThrow(rejection('CONFIG_INVALID', message));
    expect(await readdir(folder)).toEqual(['b.csv']);
    expect((await prepare('b.csv', withBad(3), { onBadRow: 'reject', ...options })).report.rejected).toBe(3);
  });
});

describe('the report', () => {
  test('counts classes, ranges, missing values, and rows of test that train has too', async () => {
    const rows = Array.from({ length: 300 }, (_, i) => `${i % 30},5,${i % 2 === 0 ? 'x' : '<script>'}`);
    const { report } = await prepare('r.csv', `a,b,label\n${rows.join('\n')}\n,5,x\n`, {
      missing: { kind: 'constant', value: 7 },
    });
    expect(report.features.map(({ name, minimum, maximum, missing }) => [name, minimum, maximum, missing])).toEqual([
      ['a', 0, 29, 1],
      ['b', 5, 5, 0],
    ]);
    expect(report.duplicates).toMatchObject({ oneIn: 1, repeated: 271 });
    expect(report.warnings).toContain('1 of 2 features never change');
    const bars = report.features[0]?.histogram?.counts ?? [];
    expect(bars.reduce((sum, count) => sum + count, 0)).toBe(301);
    const page = await readFile(join(output, 'report.html'), 'utf8');
    expect(page).toContain('&#60;script&#62;');
    expect(page).not.toContain('<script>');
    expect(JSON.parse(await readFile(join(output, 'report.json'), 'utf8'))).toEqual(report);
  });

  test('warns of leakage where features are the same and the label is not', async () => {
    const rows = Array.from({ length: 400 }, (_, i) => `${i % 25},${i % 4}`);
    const { report } = await prepare('l.csv', `a,label\n${rows.join('\n')}\n`);
    expect(report.duplicates.leaked).toBeGreaterThan(0);
    expect(report.warnings.join()).toContain(`leakage: ${report.duplicates.leaked} rows of validation and test`);
    const clean = await prepare('rows.csv', asCsv(','));
    expect(clean.report.duplicates).toEqual({ repeated: 0, leaked: 0, oneIn: 1 });
    expect(clean.report.warnings).toEqual([]);
  });
});

const jsonl = (line: number, text: string) =>
  asJsonl()
    .split('\n')
    .with(line - 1, text)
    .join('\n');

test.each<[string, string, string, Partial<PrepareOptions>, string]>([
  ['no object', 'r.jsonl', jsonl(5, '[1]'), {}, 'r.jsonl line 5: found no JSON object, wanted one a line'],
  ['half a line', 'r.jsonl', jsonl(5, '{"a":1'), {}, 'line 5: found no JSON object'],
  ['no object first', 'r.jsonl', '7\n', {}, 'r.jsonl line 1: found no JSON object'],
  [
    'another member',
    'r.jsonl',
    jsonl(5, '{"a":1,"b":2,"label":0,"SECRET":1}'),
    {},
    'line 5: found a member that the first object has not',
  ],
  [
    'an object inside',
    'r.jsonl',
    jsonl(5, '{"a":{},"b":2,"label":0}'),
    {},
    'line 5: member a: found an object or a list inside',
  ],
  ['a list for a value', 'r.jsonl', jsonl(5, '{"a":[1],"b":2,"label":0}'), {}, 'line 5: member a: wanted one value'],
  [
    'a member left out',
    'r.jsonl',
    jsonl(5, '{"a":1,"label":0}'),
    {},
    'line 5, column b: found an empty cell, wanted a number',
  ],
  ['null', 'r.jsonl', jsonl(5, '{"a":null,"b":1,"label":0}'), {}, 'line 5, column a: found an empty cell'],
  ['an empty jsonl', 'r.jsonl', '\n', {}, 'r.jsonl: it is empty'],
  ['no parquet', 'r.parquet', 'PAR1 SECRET', {}, 'r.parquet cannot be read as a parquet file'],
  [
    'out of range',
    'r.csv',
    asCsv(','),
    { ranges: { b: { minimum: 0, maximum: 9 } } },
    'column b: found a number outside 0 to 9',
  ],
  [
    'a range of no feature',
    'r.csv',
    asCsv(','),
    { ranges: { c: { minimum: 0, maximum: 9 } } },
    '--range: no column is called c, did you mean',
  ],
  [
    'a feature that is the label',
    'r.csv',
    asCsv(','),
    { features: ['a', 'label'] },
    'column label is a feature and something else',
  ],
  ['a dropped label', 'r.csv', asCsv(','), { drop: ['label'] }, 'column label is the label and dropped'],
  ['no such column', 'r.csv', asCsv(','), { drop: ['aa'] }, '--drop: no column is called aa, did you mean a?'],
  ['nothing to learn from', 'r.csv', asCsv(','), { drop: ['a', 'b'] }, 'no column is left for a feature'],
  ['group and stratify', 'r.csv', asCsv(','), { group: 'b', stratify: true }, 'found both --group and --stratify'],
  [
    'an image flag',
    'r.csv',
    asCsv(','),
    { imageSize: { width: 2, height: 2 } },
    '--image-size is for images, the data is csv',
  ],
  [
    'an identifier for a category',
    'r.csv',
    `a,label\n${Array.from({ length: 3000 }, (_, i) => `n${i},${i % 2}`).join('\n')}`,
    { categorical: ['a'] },
    'column a: found more than 1000 categories: is it an identifier? then --drop it',
  ],
])('refuses %s', async (_, name, text, options, message) => {
  await expect(prepare(name, text, options)).rejects.toThrow(rejection('CONFIG_INVALID', message));
  await expect(prepare(name, text, options)).rejects.not.toThrow(/SECRET/);
  expect(await readdir(folder)).toEqual([name]);
});

test('lists of different lengths in Parquet are refused', async () => {
  const path = await writeParquet('l.parquet', 'SELECT range(i % 3) AS a, i % 2 AS y FROM range(60) AS t(i)');
  await expect(prepareData({ inputPath: path, outputDir: output })).rejects.toThrow(
    rejection('CONFIG_INVALID', 'column a holds lists of different lengths, wanted one length'),
  );
});

test.each<[string, () => unknown, unknown]>([
  ['a range', () => parseRange('age=0:120'), ['age', { minimum: 0, maximum: 120 }]],
  ['a range with one end', () => parseRange('a=b=-1:'), ['a=b', { minimum: -1, maximum: Infinity }]],
  ['a percentage', () => parseCeiling('2.5%'), { share: 0.025 }],
  ['a number of rows', () => parseCeiling('50'), { rows: 50 }],
  ['a constant', () => parseMissing('constant=-0.5'), { kind: 'constant', value: -0.5 }],
  ['a policy', () => parseMissing('drop-row'), { kind: 'drop-row' }],
])('reads %s', (_, read, expected) => expect(read()).toEqual(expected));

test.each<[string, () => unknown, string]>([
  ['a range upside down', () => parseRange('a=2:1'), "range: found 'a=2:1', wanted COLUMN=MINIMUM:MAXIMUM"],
  ['a range of nothing', () => parseRange('a=:'), "range: found 'a=:'"],
  ['more than all', () => parseCeiling('101%'), "rejected rows: found '101%', wanted a whole number or a percentage"],
  ['a negative ceiling', () => parseCeiling('-1'), "rejected rows: found '-1'"],
  [
    'another policy',
    () => parseMissing('median'),
    "missing values: found 'median', wanted fail, drop-row, mean or constant=NUMBER",
  ],
  ['a constant of nothing', () => parseMissing('constant='), "missing values: found 'constant='"],
])('refuses %s', (_, read, message) => expect(read).toThrow(rejection('CONFIG_INVALID', message)));

test('any numbers in jsonl come out as they went in, to 32 bits', async () => {
  const value = fc.float({ noNaN: true, noDefaultInfinity: true });
  const table = fc.array(fc.tuple(value, value, fc.integer({ min: 0, max: 1 })), { minLength: 40, maxLength: 80 });
  await fc.assert(
    fc.asyncProperty(table, async (rows) => {
      const both = [...rows, [0, 0, 0] as const, [1, 1, 1] as const];
      const text = both.map(([a, b, label]) => JSON.stringify({ a, b, label })).join('\n');
      const { description } = await prepare('f.jsonl', text, { split: [1, 1, 1] });
      const found: string[] = [];
      for (const split of SPLITS) {
        for await (const { features, labels } of readArrowFile(join(output, description.splits[split].file))) {
          labels.forEach((label, r) => void found.push(`${features.subarray(2 * r, 2 * r + 2).join()},${label}`));
        }
      }
      const cast = description.schema.dtype === 'uint8' ? (number: number) => number : Math.fround;
      expect(found.sort()).toEqual(both.map(([a, b, label]) => `${cast(a) + 0},${cast(b) + 0},${label}`).sort());
    }),
    { numRuns: 10 },
  );
});
