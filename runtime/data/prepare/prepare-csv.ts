import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import type { DatasetSchema, Split } from '../../statements/manifest.ts';
import type { DatasetDescription } from '../dataset-file.ts';
import { type CsvFile, cellNumber, csvCell, findLabelColumn, openCsv } from './csv.ts';
import { LabelReader } from './labels.ts';
import { FeatureStatistics } from './normalise.ts';
import type { PrepareSettings } from './settings.ts';
import { rowSplitter } from './split.ts';
import { openArrowSplits, openCsvSplits, publish, using } from './split-files.ts';

const FLOAT32_MAXIMUM = 3.4028234663852886e38;

interface ParsedRow {
  readonly split: Split;
  /** Used again for the next row. */
  readonly features: Float64Array;
  readonly label: string;
  /** The row as it stands in a prepared file. */
  readonly text: string;
}

/** Prepares a CSV file in one pass (two for Arrow, whose type and classes must be known before its first row). */
export async function prepareCsv(settings: PrepareSettings): Promise<DatasetDescription> {
  const { inputPath, outputDir } = settings;
  const csv = await openCsv(inputPath);
  const labelColumn = findLabelColumn(inputPath, csv.columns, settings.label);
  const columns = csv.columns.filter((_, i) => i !== labelColumn);
  const labels = new LabelReader(settings.classes);
  const statistics = new FeatureStatistics(columns.length);
  const parse = rowParser(settings, csv.columns, labelColumn, labels);
  const scan = (add: (row: ParsedRow) => Promise<void> | undefined) =>
    eachRow(csv, settings, parse, (row) => {
      statistics.add(row.features, row.split === 'train');
      return add(row);
    });
  const describe = () => ({
    name: settings.name,
    seed: settings.seed,
    schema: {
      columns,
      featureCount: columns.length,
      dtype: statistics.dtype,
      label: csv.columns[labelColumn] ?? '',
      classes: labels.classes(`${inputPath}, column ${csv.columns[labelColumn]}`),
      normalisation: statistics.normalisation(settings.normalisation),
    } satisfies DatasetSchema,
  });

  if (settings.outputFormat === 'csv') {
    return using(await openCsvSplits(outputDir, csv.columns.map(csvCell).join(',')), async (files) => {
      await scan(({ split, text }) => files.add(split, text));
      return publish(outputDir, files, describe());
    });
  }
  await scan(() => undefined);
  const about = describe();
  const classIndex = new Map(about.schema.classes.map((name, i) => [name, i]));
  return using(await openArrowSplits(outputDir, about.schema.dtype, columns.length), async (files) => {
    await eachRow(await openCsv(inputPath), settings, parse, ({ split, features, label }) =>
      files.add(split, features, classIndex.get(label) ?? 0),
    );
    return publish(outputDir, files, about);
  });
}

async function eachRow(
  csv: CsvFile,
  { inputPath, onProgress, abortSignal }: PrepareSettings,
  parse: (cells: readonly string[], line: number) => ParsedRow,
  use: (row: ParsedRow) => Promise<void> | undefined,
): Promise<void> {
  const { size: total } = await stat(inputPath);
  for await (const { rows, bytesRead } of csv.chunks) {
    abortSignal?.throwIfAborted();
    for (const { cells, line } of rows) {
      const wait = use(parse(cells, line));
      if (wait !== undefined) await wait;
    }
    onProgress({ step: 'prepare', name: basename(inputPath), done: Math.min(bytesRead, total), total, unit: 'bytes' });
  }
}

function rowParser(settings: PrepareSettings, columns: readonly string[], labelColumn: number, labels: LabelReader) {
  const path = settings.inputPath;
  const splitOf = rowSplitter(settings.seed, settings.split);
  const features = new Float64Array(columns.length - 1);
  const texts = new Array<string>(columns.length).fill('');
  return (cells: readonly string[], line: number): ParsedRow => {
    let label = '';
    for (let i = 0, feature = 0; i < columns.length; i++) {
      const cell = cells[i] ?? '';
      if (i === labelColumn) {
        label = labels.read(cell, `${path} line ${line}, column ${columns[i]}`);
        texts[i] = csvCell(label);
        continue;
      }
      const value = cellNumber(cell);
      if (!(Math.abs(value) <= FLOAT32_MAXIMUM))
        throw badCell(`${path} line ${line}, column ${columns[i]}`, cell, value);
      features[feature++] = value;
      texts[i] = isTrimmed(cell) ? cell : cell.trim();
    }
    const text = texts.join(',');
    return { split: splitOf(text), features, label, text };
  };
}

/** `trim` on every cell costs more than all the rest. */
function isTrimmed(cell: string): boolean {
  return cell.charCodeAt(0) > 32 && cell.charCodeAt(cell.length - 1) > 32;
}

function badCell(where: string, cell: string, value: number): SecureTrainingError {
  const noNumber = cell.trim() === '' ? 'an empty cell' : 'something else';
  const found = Number.isNaN(value) ? noNumber : 'a number too large for 32 bits';
  return new SecureTrainingError('CONFIG_INVALID', `${where}: found ${found}, wanted a number`);
}
