import { utf8 } from '../../crypto/bytes.ts';
import { SecureTrainingError } from '../../errors.ts';
import type { Normalisation, Split } from '../../statements/manifest.ts';
import type { FeatureArray } from '../arrow-shard.ts';
import type { AtomicFile } from '../atomic-file.ts';
import type { ArrayBatch, ArraySource } from './array-source.ts';
import { BadRows } from './bad-rows.ts';
import { csvCell } from './cells.ts';
import { openIdx } from './idx.ts';
import { openImageFolder } from './image-folder.ts';
import { LabelReader } from './labels.ts';
import { FeatureStatistics } from './normalise.ts';
import { openNpy } from './npy.ts';
import type { ArrayType, PrepareSettings } from './options.ts';
import { ReportCollector } from './report.ts';
import { ClassShares, rowPosition, type Splitter, shareSplitter } from './split.ts';
import {
  type ArrowSplitFiles,
  openArrowSplits,
  openTextSplits,
  type Published,
  publish,
  type TextSplitFiles,
  using,
} from './split-files.ts';

const BATCH_ROWS = 4096;
const LABEL = 'label';
const BYTE_MAXIMUM = 255;
const LOW_BYTE = 0xff;

/** Prepares images or arrays. Rows that came as test rows stay test rows; train and validation share the others. */
export async function prepareArrays(
  settings: PrepareSettings,
  type: ArrayType,
  rejected: AtomicFile | undefined,
): Promise<Published> {
  const { outputDir, outputFormat } = settings;
  const source = await openSource(settings, type);
  const { featureCount, dtype } = source;
  const classes = await findClasses(settings, source);
  const columns = Array.from({ length: featureCount }, (_, i) => `p${i}`);
  const pass = arrayPasses(settings, source, classes, 1 + Number(settings.stratify));
  const splitOf = await arraySplitter(settings, source, pass);
  const files =
    outputFormat === 'arrow'
      ? await openArrowSplits(outputDir, dtype, featureCount)
      : await openTextSplits(outputDir, outputFormat, [LABEL, ...columns]);
  return using<TextSplitFiles | ArrowSplitFiles, Published>(files, async () => {
    const report = new ReportCollector(undefined);
    const needsStatistics = settings.normalisation === 'standard' || dtype === 'float32';
    const statistics = needsStatistics ? new FeatureStatistics(featureCount) : undefined;
    const counts = await pass(
      async (lines) => {
        if (lines.length > 0) await rejected?.write(utf8(`${lines.join('\n')}\n`));
      },
      (row, label, index, position) => {
        const split = splitOf(position, label);
        statistics?.add(row, split === 'train');
        report.add(split, label, row);
        return files.format === 'arrow'
          ? files.add(split, row, index)
          : files.add(split, `${csvCell(label)},${row.join(',')}`);
      },
    );
    return publish(outputDir, files, {
      about: {
        name: settings.name,
        seed: settings.seed,
        schema: {
          columns,
          featureCount,
          dtype,
          label: LABEL,
          classes: classes.names,
          normalisation: statistics?.normalisation(settings.normalisation) ?? pixels(settings),
        },
        preparation: {
          type,
          rejected: counts,
          shape: source.shape,
          split: settings.split,
          ...(settings.stratify ? { stratified: true } : {}),
        },
      },
      report: (description) => report.finish(description, { rejected: counts, incomplete: 0, missing: [] }),
      rejected,
    });
  });
}

function openSource(settings: PrepareSettings, type: ArrayType): Promise<ArraySource> {
  if (type === 'idx') return openIdx(settings.inputPath);
  if (type === 'npy') return openNpy(settings.inputPath, settings.labelsPath);
  return openImageFolder(settings.inputPath, settings);
}

/** Names of the classes, and which of them a number in the file means. */
interface ArrayClasses {
  readonly names: readonly string[];
  readonly indexOf: ReadonlyMap<number, number>;
  /** What is wrong with a number that means none. */
  readonly problem: string;
}

async function findClasses({ inputPath, classes: given }: PrepareSettings, source: ArraySource): Promise<ArrayClasses> {
  if (source.classNames !== undefined) return namedClasses(inputPath, given, source.classNames);
  const found = new Set<number>();
  for await (const labels of source.labels()) for (const label of labels) found.add(label);
  const reader = new LabelReader(typeof given === 'object' ? given.length : given);
  // Given classes tell of a wrong label where it stands; without them a number is wrong only where there are too many.
  let problem = 'found a label of no class';
  for (const label of found) problem = reader.problem(String(label)) ?? problem;
  if (given === undefined && problem.includes('more than')) throw invalid(`${inputPath}: ${problem}`);
  const names = reader.classes(inputPath);
  return {
    names: typeof given === 'object' ? given : names,
    indexOf: new Map(names.map((name, index) => [Number(name), index])),
    problem,
  };
}

/** Classes that are folders: given names decide on their order. */
function namedClasses(inputPath: string, given: PrepareSettings['classes'], found: readonly string[]): ArrayClasses {
  const names = typeof given === 'object' ? given : found;
  if (typeof given === 'number' && given !== found.length)
    throw invalid(`${inputPath}: found ${found.length} folders of classes, wanted ${given}`);
  const other = found.filter((name) => !names.includes(name)).length;
  if (other > 0)
    throw invalid(`${inputPath}: found ${other} folders that are none of the ${names.length} classes given`);
  return { names, indexOf: new Map(found.map((name, label) => [label, names.indexOf(name)])), problem: '' };
}

type UseRow = (row: FeatureArray, label: string, index: number, position: number) => Promise<void> | undefined;
/** Returns the number of rows put aside. */
type ArrayPass = (reject: (lines: readonly string[]) => Promise<void>, use: UseRow) => Promise<number>;

/** A position that no share reaches: the row came as a test row. */
const TEST_POSITION = Infinity;

function arrayPasses(settings: PrepareSettings, source: ArraySource, classes: ArrayClasses, count: number): ArrayPass {
  const { rows, featureCount } = source;
  const positionOf = arrayPosition(settings, source);
  let passesDone = 0;
  return async (reject, use) => {
    const bad = new BadRows(settings.inputPath, settings.onBadRow, settings.maxRejected);
    let done = passesDone * rows;
    for await (const batch of source.batches(BATCH_ROWS)) {
      settings.abortSignal?.throwIfAborted();
      for (let r = 0; r < batch.labels.length; r++) {
        const label = batch.labels[r] ?? 0;
        const index = classes.indexOf.get(label);
        const problem = batch.problem?.(r) ?? (index === undefined ? classes.problem : undefined);
        if (problem !== undefined || index === undefined) {
          bad.add(batch.place(r), problem ?? classes.problem);
          continue;
        }
        const row = batch.features.subarray(r * featureCount, (r + 1) * featureCount);
        const wait = use(row, classes.names[index] ?? '', index, positionOf(batch, row, label));
        if (wait !== undefined) await wait;
      }
      await reject(bad.take());
      done += batch.labels.length;
      settings.onProgress({ step: 'prepare', name: batch.name, done, total: count * rows, unit: 'rows' });
    }
    bad.finish(rows);
    passesDone += 1;
    return bad.rejected;
  };
}

/** Values and the low byte of the class number decide on the split. */
function arrayPosition({ seed }: PrepareSettings, { featureCount, dtype }: ArraySource) {
  const position = rowPosition(seed);
  const size = featureCount * (dtype === 'uint8' ? 1 : Float32Array.BYTES_PER_ELEMENT);
  const bytes = new Uint8Array(size + 1);
  return ({ isTest }: ArrayBatch, row: FeatureArray, label: number): number => {
    if (isTest) return TEST_POSITION;
    bytes.set(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
    bytes[size] = label & LOW_BYTE;
    return position(bytes);
  };
}

async function arraySplitter(settings: PrepareSettings, source: ArraySource, pass: ArrayPass): Promise<Splitter> {
  const [train, validation, test] = settings.split;
  const shares = [train, validation, source.hasTestRows ? 0 : test] as const;
  const inner = settings.stratify ? await stratified(shares, pass) : shareSplitter(shares);
  return (position, label): Split => (position === TEST_POSITION ? 'test' : inner(position, label));
}

async function stratified(shares: readonly [number, number, number], pass: ArrayPass): Promise<Splitter> {
  const classShares = new ClassShares();
  await pass(
    async () => undefined,
    (_row, label, _index, position) => {
      if (position !== TEST_POSITION) classShares.add(position, label);
      return undefined;
    },
  );
  return classShares.splitter(shares);
}

/** Bytes have a known range: no look at them is needed. */
function pixels({ normalisation }: PrepareSettings): Normalisation {
  return normalisation === 'none' ? { kind: 'none' } : { kind: 'scale', divisor: BYTE_MAXIMUM };
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
