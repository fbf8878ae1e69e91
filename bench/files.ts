import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sealDataset } from '../runtime/data/seal-dataset.ts';
import { type Measure, medianTimes } from './measure.ts';
import { benchKeys, ROW_BYTES, sealingOf, writePreparedRows } from './prepared.ts';

const ENTRY = fileURLToPath(new URL('./files-entry.ts', import.meta.url));
/** Some 200 MB. */
const ROWS = 250_000;
const ROUNDS = 3;
const CHUNK = 4 * 1024 * 1024;
/** Bytes of the files whose sealing is watched for memory. */
const SMALL = 100e6;
const LARGE = { quick: 1e9, whole: 10e9 };

/**
 * Sealing from file to file. `seal-file` stands against a loop that copies the same file in pieces of 4 MiB with the same flush to
 * the disk at the end; `seal-jobs` is two jobs against one; `seal-memory` the most memory of a process that seals a large
 * file against one that seals 100 MB.
 * @param whole 10 GB for the large file, which takes minutes and 20 GB of disk; else 1 GB
 */
export async function benchFiles({ whole = false } = {}): Promise<Measure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-bench-files-'));
  try {
    const input = join(folder, 'processed');
    await writePreparedRowsIn(input, ROWS);
    const keys = benchKeys();
    const { size } = await stat(join(input, 'train.arrow'));
    const seal = async (jobs: number) => {
      const output = join(folder, `sealed-${jobs}`);
      await sealDataset({ ...sealingOf(input, output, keys), jobs });
      await rm(output, { recursive: true });
    };
    const times = await medianTimes(
      { copy: () => copy(join(input, 'train.arrow'), join(folder, 'copy')), one: () => seal(1), two: () => seal(2) },
      ROUNDS,
    );
    const rate = (milliseconds: number) => size / 1000 / milliseconds;
    const [copied, one, two] = [rate(times.copy), rate(times.one), rate(times.two)];
    return [
      { name: 'seal-file', value: one, unit: 'MB/s', baseline: copied, ratio: one / copied, method: 'copy loop' },
      { name: 'seal-jobs', value: two, unit: 'MB/s', baseline: one, ratio: two / one, method: '2 jobs, 1 job' },
      await memory(folder, whole ? LARGE.whole : LARGE.quick),
    ];
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function writePreparedRowsIn(folder: string, rows: number): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await writePreparedRows(folder, rows);
}

async function copy(from: string, to: string): Promise<void> {
  const [source, target] = [await open(from), await open(to, 'w')];
  try {
    const chunk = new Uint8Array(CHUNK);
    for (;;) {
      const { bytesRead } = await source.read(chunk, 0, CHUNK);
      if (bytesRead === 0) break;
      await target.write(chunk, 0, bytesRead);
    }
    await target.sync();
  } finally {
    await source.close();
    await target.close();
  }
}

/** Each in a process of its own, which tells its high-water mark at the end. */
async function memory(folder: string, large: number): Promise<Measure> {
  const peaks: number[] = [];
  for (const bytes of [SMALL, large]) {
    const input = join(folder, 'memory');
    await writePreparedRowsIn(input, Math.floor(bytes / ROW_BYTES));
    const { stdout } = await promisify(execFile)(process.execPath, [ENTRY, input, join(folder, 'memory-sealed')]);
    peaks.push(Number(stdout));
    await rm(join(folder, 'memory-sealed'), { recursive: true });
  }
  const [baseline = 0, value = 0] = peaks;
  const method = `${large / 1e9} GB, 0.1 GB`;
  return { name: 'seal-memory', value, unit: 'MB', baseline, ratio: value / baseline, method };
}
