import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { quoteText, withDuckDb } from '../runtime/data/prepare/duckdb.ts';
import { prepareData } from '../runtime/data/prepare/prepare.ts';
import { SPLITS } from '../runtime/statements/manifest.ts';
import { type Measure, medianTimes } from './measure.ts';

const ROWS = 100_000;
const COLUMNS = 12;
const ROUNDS = 3;

/**
 * Preparing a csv file, against DuckDB alone on one thread: it reads the same file, puts each row into a split by a hash of it and
 * writes the three files, but checks nothing, learns no statistics and makes no report.
 */
export async function benchPrepare(): Promise<Measure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-bench-prepare-'));
  try {
    const inputPath = join(folder, 'rows.csv');
    await writeRows(inputPath);
    const outputs = SPLITS.map((split) => join(folder, `${split}.csv`));
    const prepare = (outputFormat: 'csv' | 'arrow') =>
      prepareData({ inputPath, outputDir: join(folder, outputFormat), outputFormat });
    const times = await medianTimes(
      {
        duckdb: () =>
          withDuckDb([inputPath, ...outputs], async (connection) => {
            const from = `read_csv(${quoteText(inputPath)}, header = true)`;
            const split = 'hash(label || c0::VARCHAR || c1::VARCHAR) % 10';
            await connection.run(`CREATE TABLE rows AS SELECT *, ${split} AS h FROM ${from}`);
            for (const [i, condition] of ['h < 8', 'h = 8', 'h = 9'].entries()) {
              const rows = `SELECT * EXCLUDE (h) FROM rows WHERE ${condition}`;
              await connection.run(`COPY (${rows}) TO ${quoteText(outputs[i] ?? '')} (FORMAT csv, USE_TMP_FILE false)`);
            }
          }),
        csv: () => prepare('csv'),
        arrow: () => prepare('arrow'),
      },
      ROUNDS,
    );
    return (['csv', 'arrow'] as const).map((format) => {
      const [value, baseline] = [ROWS / times[format], ROWS / times.duckdb];
      const method = `${ROWS} rows of ${COLUMNS} numbers`;
      return { name: `prepare-${format}`, value, unit: 'rows/ms', baseline, ratio: value / baseline, method };
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}

function writeRows(path: string): Promise<void> {
  function* lines() {
    yield `${Array.from({ length: COLUMNS }, (_, c) => `c${c}`).join(',')},label\n`;
    for (let row = 0; row < ROWS; row++) {
      const values = Array.from({ length: COLUMNS }, (_, c) => ((row * (c + 7)) % 9973) / 8);
      yield `${values.join(',')},${row % 5}\n`;
    }
  }
  return pipeline(lines, createWriteStream(path));
}
