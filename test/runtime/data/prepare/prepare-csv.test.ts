import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { readArrowFile } from '../../../../runtime/data/arrow-file.ts';
import { readDatasetFile } from '../../../../runtime/data/dataset-file.ts';
import type { PrepareOptions } from '../../../../runtime/data/prepare/options.ts';
import { prepareData } from '../../../../runtime/data/prepare/prepare.ts';
import { readPreparedRows } from '../../../../runtime/data/prepared-rows.ts';
import type { DataProgress } from '../../../../runtime/data/progress.ts';
import { SPLITS } from '../../../../runtime/statements/manifest.ts';
import { rejection } from '../../rejection.ts';
import { csvText } from '../dataset.ts';

let folder: string;
let input: string;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-prepare-'));
  input = join(folder, 'My Data.csv');
  output = join(folder, 'processed');
});

async function prepare(text: string, options: Partial<PrepareOptions> = {}) {
  await writeFile(input, text);
  return prepareData({ inputPath: input, outputDir: output, ...options });
}

/** What a folder holds afterwards, sorted. */
const filesOf = (format: string) =>
  ['dataset.json', 'report.html', 'report.json', ...SPLITS.map((split) => `${split}.${format}`)].sort();

const lines = async (split: string, at = output) =>
  (await readFile(join(at, `${split}.csv`), 'utf8')).trimEnd().split('\n');

test('checks, splits and describes', async () => {
  const { description, rows } = await prepare(csvText(300));
  expect(rows).toBe(300);
  expect((await readdir(output)).sort()).toEqual(filesOf('csv'));
  expect(await readDatasetFile(output)).toEqual(description);
  expect(description.name).toBe('my-data');
  expect(description.schema).toMatchObject({
    columns: ['width', 'height'],
    featureCount: 2,
    dtype: 'float32',
    label: 'class',
    classes: ['blue', 'green', 'red'],
    normalisation: { kind: 'standard' },
  });
  const written: string[] = [];
  for (const split of SPLITS) {
    const [header, ...body] = await lines(split);
    expect(header).toBe('width,height,class');
    expect(body).toHaveLength(description.splits[split].rows);
    written.push(...body);
  }
  expect(written.sort()).toEqual(csvText(300).trimEnd().split('\n').slice(1).sort());
});

test('a row keeps its split whatever stands before it; a row that appears twice stays on one side', async () => {
  await prepare(csvText(300));
  const before = await lines('test');
  const [header, ...body] = csvText(300).trimEnd().split('\n');
  await prepare([header, ...body.reverse(), ...body.slice(0, 20)].join('\n'));
  const after = await lines('test');
  expect([...new Set(after)].sort()).toEqual([...before].sort());
});

test('the same input gives the same bytes, another seed other splits', async () => {
  await prepare(csvText(300));
  const first = await Promise.all(
    [...SPLITS.map((split) => `${split}.csv`), 'dataset.json'].map((name) => readFile(join(output, name), 'utf8')),
  );
  await prepare(csvText(300));
  const second = await Promise.all(
    [...SPLITS.map((split) => `${split}.csv`), 'dataset.json'].map((name) => readFile(join(output, name), 'utf8')),
  );
  expect(second).toEqual(first);
  await prepare(csvText(300), { seed: 7 });
  expect((await lines('train')).join('\n')).not.toBe(first[0]?.trimEnd());
});

test('mean and deviation come from the train split alone', async () => {
  const { description } = await prepare(csvText(300));
  const heights = (await lines('train')).slice(1).map((line) => Number(line.split(',')[1]));
  const mean = heights.reduce((sum, value) => sum + value, 0) / heights.length;
  const deviation = Math.sqrt(heights.reduce((sum, value) => sum + (value - mean) ** 2, 0) / heights.length);
  const rule = description.schema.normalisation;
  expect(rule.kind === 'standard' && rule.mean[1]).toBeCloseTo(mean, 9);
  expect(rule.kind === 'standard' && rule.deviation[1]).toBeCloseTo(deviation, 9);
});

const table = (rows: readonly string[]) => `a,b,label\n${rows.join('\n')}\n`;
const many = (row: (i: number) => string, count = 60) => table(Array.from({ length: count }, (_, i) => row(i)));

test.each([
  ['pixels', many((i) => `${i},255,${i % 2}`), 'uint8', { kind: 'scale', divisor: 255 }],
  ['a fraction', many((i) => `${i}.5,255,${i % 2}`), 'float32', undefined],
  ['a negative number', many((i) => `-${i},255,${i % 2}`), 'float32', undefined],
])('type and normalisation of %s', async (_, text, dtype, normalisation) => {
  const { schema } = (await prepare(text)).description;
  expect(schema.dtype).toBe(dtype);
  expect(schema.normalisation.kind).toBe(normalisation?.kind ?? 'standard');
});

test.each([
  ['numbers from 0, with a gap', (i: number) => (i % 3) * 2, undefined, ['0', '1', '2', '3', '4']],
  ['numbers not from 0', (i: number) => 10 + (i % 2), undefined, ['10', '11']],
  ['negative numbers', (i: number) => (i % 2) * 2 - 1, undefined, ['-1', '1']],
  ['numbers written with a fraction of nothing', (i: number) => `${i % 2}.0`, undefined, ['0', '1']],
  ['a count given', (i: number) => i % 2, 4, ['0', '1', '2', '3']],
  ['names given, in their order', (i: number) => 'xy'[i % 2], ['y', 'x', 'z'], ['y', 'x', 'z']],
])('classes from %s', async (_, label, classes, expected) => {
  const text = many((i) => `${i},1,${label(i)}`);
  const { schema } = (await prepare(text, classes === undefined ? {} : { classes })).description;
  expect(schema.classes).toEqual(expected);
});

test('reads semicolons, byte order mark, quotes, carriage returns, blanks and blank lines', async () => {
  const body = Array.from({ length: 60 }, (_, i) => `" ${i} ";+1.5e1;"n, ${i % 2}"`).join('\r\n');
  const { description } = await prepare(`\uFEFFa;b;Class\r\n\r\n${body}\r\n\r\n`);
  expect(description.schema).toMatchObject({ columns: ['a', 'b'], label: 'Class', classes: ['n, 0', 'n, 1'] });
  expect((await lines('train'))[1]).toMatch(/^\d+,\+1\.5e1,"n, [01]"$/);
});

test('csv becomes Arrow with the same rows', async () => {
  const text = many((i) => `${i},${i % 7},${i % 2}`, 200);
  const { description } = await prepare(text, { outputFormat: 'arrow' });
  const csv = await prepareData({ inputPath: input, outputDir: join(folder, 'csv') });
  expect(description.schema).toEqual(csv.description.schema);
  const rows: string[] = [];
  for await (const { features, labels } of readArrowFile(join(output, 'train.arrow'))) {
    labels.forEach((label, r) => {
      rows.push([...features.subarray(2 * r, 2 * r + 2), label].join(','));
    });
  }
  expect(rows).toEqual((await lines('train', join(folder, 'csv'))).slice(1));
});

test('another format replaces the files of the one before', async () => {
  await prepare(csvText());
  await prepare(csvText(), { outputFormat: 'arrow' });
  expect((await readdir(output)).sort()).toEqual(filesOf('arrow'));
});

test('progress never goes back and ends at the end', async () => {
  const seen: DataProgress[] = [];
  await prepare(csvText(20_000), { onProgress: (progress) => seen.push(progress) });
  expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
  expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
});

const good = many((i) => `${i},1,${i % 2}`);
const withLine = (line: number, text: string) =>
  good
    .split('\n')
    .with(line - 1, text)
    .join('\n');

test('labels that are values stay as they are: no classes, fractions and signs', async () => {
  const text = many((i) => `${i},1,${(i - 20) / 4}`);
  const { description } = await prepare(text, { classes: [] });
  expect(description.schema).toMatchObject({ label: 'label', classes: [] });
  const rows = (await Promise.all(SPLITS.map((split) => lines(split)))).flatMap((each) => each.slice(1));
  expect(rows).toEqual(expect.arrayContaining(['0,1,-5', '1,1,-4.75', '20,1,0']));
  const read = [];
  const { rows: count } = description.splits.train;
  for await (const piece of readPreparedRows(join(output, 'train.csv'), description.schema, 'train', 10)) {
    expect(piece.labels).toBeInstanceOf(Float32Array);
    read.push(...Array.from(piece.labels, (label, i) => [(piece.features[i * 2] ?? 0) / 4 - 5, label]));
  }
  expect(read).toHaveLength(count);
  for (const [wanted, label] of read) expect(label).toBe(wanted);
});

// Every mistake: what is told (file, line, column, never the value), and that nothing is left behind.
test.each<[string, string, Partial<PrepareOptions>, string[]]>([
  ['an empty file', '', {}, ['My Data.csv: it is empty']],
  ['only blank lines', '\n\n\n', {}, ['My Data.csv: it is empty']],
  ['a header alone', 'a,label\n', {}, ['column label: found 0 class, wanted at least 2']],
  ['too few columns', withLine(7, '1,2'), {}, ['line 7: found 2 columns, wanted 3']],
  ['too many columns', withLine(7, '1,2,3,4'), {}, ['line 7: found 4 columns, wanted 3']],
  ['a word for a number', withLine(9, '1,SECRET,0'), {}, ['line 9, column b: found something else, wanted a number']],
  ['hexadecimal', withLine(9, '1,0x10,0'), {}, ['line 9, column b: found something else, wanted a number']],
  ['NaN', withLine(9, 'NaN,1,0'), {}, ['line 9, column a: found something else, wanted a number']],
  ['an empty cell', withLine(9, '1,,0'), {}, ['line 9, column b: found an empty cell, wanted a number']],
  ['infinity', withLine(9, '1e999,1,0'), {}, ['line 9, column a: found a number too large for 32 bits']],
  [
    'a label out of range',
    withLine(4, '1,1,2'),
    { classes: 2 },
    ['line 4, column label: found a label outside 0 to 1'],
  ],
  [
    'a name not given',
    withLine(4, '1,1,SECRET'),
    { classes: ['0', '1'] },
    ['line 4, column label: found a label outside the 2 classes given'],
  ],
  ['no label', withLine(4, '1,1,'), {}, ['line 4, column label: found no label']],
  ['a word among numbers', withLine(4, '1,1,SECRET'), {}, ['line 4, column label: found a name for a label']],
  ['a regression', withLine(2, '1,1,3.14'), {}, ['line 2, column label: found a label with a fraction']],
  ['one class', many((i) => `${i},1,1`), {}, ['column label: found 1 class, wanted at least 2']],
  [
    'an identifier for a label',
    many((i) => `1,1,${i}x`, 1200),
    {},
    ['line 1002, column label: found more than 1000 classes'],
  ],
  [
    'no label column',
    'a,b,c\n1,2,3\n',
    {},
    ['no column is called label, target, y or class; columns: a, b, c; name it with --label'],
  ],
  ['no such label column', good, { label: 'kind' }, ['no column is called kind; columns: a, b, label']],
  ['no header', '1,2,3\n1,2,3\n', {}, ['line 1 holds numbers, wanted column names']],
  ['a name twice', 'a,a,label\n1,2,3\n', {}, ['line 1: column name a appears twice']],
  ['a column without name', 'a,,label\n1,2,3\n', {}, ['line 1: column 2 has no name']],
  ['one column', 'label\n1\n', {}, ['line 1: found 1 column (label), wanted a label and at least one feature']],
  ['an open quote', withLine(7, '1,"2,0'), {}, ['line 7: quotes do not match']],
  ['a share of zero', good, { split: [0.8, 0, 0.2] }, ['split: validation is not a number above 0']],
  ['a negative share', good, { split: [-1, 1, 1] }, ['split: train is not a number above 0']],
  ['too few rows', table(['1,1,0', '2,1,1']), {}, ['none of the 2 rows went to', '--split']],
  [
    'a line break in a column name',
    `"a\nb",label\n${Array.from({ length: 60 }, (_, i) => `${i},${i % 2}`).join('\n')}`,
    {},
    ['dataset.json: schema.columns[0]'],
  ],
  ['a bad dataset name', good, { name: '../x' }, ["dataset name '../x'"]],
  ['a negative seed', good, { seed: -1 }, ['seed: wanted a whole number from 0']],
  [
    'a word for a value',
    withLine(4, '1,1,SECRET'),
    { classes: [] },
    ['line 4, column label: found no number for a label'],
  ],
  ['no value', withLine(4, '1,1,'), { classes: [] }, ['line 4, column label: found no number for a label']],
  [
    'a value too large',
    withLine(4, '1,1,1e39'),
    { classes: [] },
    ['line 4, column label: found no number for a label'],
  ],
  [
    'values in Arrow',
    good,
    { classes: [], outputFormat: 'arrow' },
    ['labels that are values stand in csv or parquet files: found output format arrow'],
  ],
  ['one class asked for', good, { classes: 1 }, ['classes: wanted a whole number from 2 to 1000']],
])('refuses %s', async (_, text, options, parts) => {
  await expect(prepare(text, options)).rejects.toThrow(rejection('CONFIG_INVALID', ...parts));
  await expect(prepare(text, options)).rejects.not.toThrow(/SECRET/);
  expect(await readdir(folder)).toEqual(['My Data.csv']);
});

test.each([
  ['a missing file', { inputPath: 'nowhere.csv' }, 'no file or folder at nowhere.csv'],
  [
    'an unknown type',
    { dataType: 'cvs' as 'csv' },
    "unknown data type 'cvs', did you mean csv? known are csv, tsv, jsonl, parquet, npy, idx, images",
  ],
  ['a type it is not', { dataType: 'idx' as const }, 'is a file, wanted the folder of NAME-images-idx3-ubyte'],
])('refuses %s', async (_, options, message) => {
  await expect(prepare(good, options)).rejects.toThrow(rejection('CONFIG_INVALID', message));
  expect(await readdir(folder)).toEqual(['My Data.csv']);
});

test('refuses a name that does not say what it holds, and a folder for csv', async () => {
  await writeFile(join(folder, 'data.bin'), good);
  await expect(prepareData({ inputPath: join(folder, 'data.bin'), outputDir: output })).rejects.toThrow(
    rejection('CONFIG_INVALID', 'wanted --data-type csv, tsv, jsonl, parquet, npy, idx, images'),
  );
  await expect(prepareData({ inputPath: folder, outputDir: output, dataType: 'csv' })).rejects.toThrow(
    rejection('CONFIG_INVALID', 'is a folder, wanted a csv file'),
  );
});

test('refuses to overwrite its own input', async () => {
  await writeFile(join(folder, 'train.csv'), good);
  await expect(prepareData({ inputPath: join(folder, 'train.csv'), outputDir: folder })).rejects.toThrow(
    rejection('CONFIG_INVALID', 'is both input and output'),
  );
  expect(await readFile(join(folder, 'train.csv'), 'utf8')).toBe(good);
});

test('a mistake leaves what an earlier run made as it was', async () => {
  await prepare(good);
  const before = await readFile(join(output, 'train.csv'), 'utf8');
  await expect(prepare(withLine(30, 'x,1,0'))).rejects.toThrow(rejection('CONFIG_INVALID', 'line 30'));
  expect((await readdir(output)).sort()).toEqual(filesOf('csv'));
  expect(await readFile(join(output, 'train.csv'), 'utf8')).toBe(before);
});
