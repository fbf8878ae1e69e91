import { basename } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import type { Split } from '../../statements/manifest.ts';
import type { FeatureArray } from '../arrow-shard.ts';
import type { DatasetDescription } from '../dataset-file.ts';
import { findIdxPairs, type IdxFile, type IdxPair, openIdx } from './idx.ts';
import { LabelReader } from './labels.ts';
import { FeatureStatistics } from './normalise.ts';
import type { PrepareSettings } from './settings.ts';
import { rowSplitter } from './split.ts';
import {
  type ArrowSplitFiles,
  type CsvSplitFiles,
  openArrowSplits,
  openCsvSplits,
  publish,
  using,
} from './split-files.ts';

const BATCH_ROWS = 4096;
const LABEL = 'label';

/** Prepares a folder of images. Rows that came as test rows stay test rows; train and validation share the others. */
export async function prepareIdx(settings: PrepareSettings): Promise<DatasetDescription> {
  const pairs = await findIdxPairs(settings.inputPath);
  const images: IdxFile[] = [];
  try {
    for (const pair of pairs) images.push(await openIdx(pair));
    const featureCount = sameWidth(pairs, images);
    const columns = Array.from({ length: featureCount }, (_, i) => `p${i}`);
    const { outputDir } = settings;
    const files =
      settings.outputFormat === 'csv'
        ? await openCsvSplits(outputDir, [LABEL, ...columns].join(','))
        : await openArrowSplits(outputDir, 'uint8', featureCount);
    return await using<CsvSplitFiles | ArrowSplitFiles, DatasetDescription>(files, async () => {
      const { classes: given } = settings;
      const labels = new LabelReader(typeof given === 'object' ? given.length : given);
      const statistics = await copyRows(settings, pairs, images, files, labels);
      return publish(outputDir, files, {
        name: settings.name,
        seed: settings.seed,
        schema: {
          columns,
          featureCount,
          dtype: 'uint8',
          label: LABEL,
          classes: typeof given === 'object' ? given : labels.classes(settings.inputPath),
          normalisation:
            statistics?.normalisation('standard') ??
            (settings.normalisation === 'none' ? { kind: 'none' } : { kind: 'scale', divisor: 255 }),
        },
      });
    });
  } finally {
    for (const file of images) file.close();
  }
}

/** Returns statistics only where the normalisation needs them: they cost as much as everything else here. */
async function copyRows(
  settings: PrepareSettings,
  pairs: readonly IdxPair[],
  images: readonly IdxFile[],
  files: CsvSplitFiles | ArrowSplitFiles,
  labels: LabelReader,
): Promise<FeatureStatistics | undefined> {
  const featureCount = images[0]?.featureCount ?? 0;
  const statistics = settings.normalisation === 'standard' ? new FeatureStatistics(featureCount) : undefined;
  const splitOf = imageSplitter(settings, pairs, featureCount);
  const total = images.reduce((sum, file) => sum + file.rows, 0);
  let done = 0;
  for (const [i, pair] of pairs.entries()) {
    let row = 0;
    for await (const batch of images[i]?.batches(BATCH_ROWS) ?? []) {
      settings.abortSignal?.throwIfAborted();
      for (let r = 0; r < batch.labels.length; r++, row++) {
        const pixels = batch.features.subarray(r * featureCount, (r + 1) * featureCount);
        const label = batch.labels[r] ?? 0;
        const text = labels.read(String(label), `${pair.labelsPath} row ${row}`);
        const split = splitOf(pair, pixels, label);
        statistics?.add(pixels, split === 'train');
        const wait =
          files.format === 'csv' ? files.add(split, `${text},${pixels.join(',')}`) : files.add(split, pixels, label);
        if (wait !== undefined) await wait;
      }
      done += batch.labels.length;
      settings.onProgress({ step: 'prepare', name: basename(pair.imagesPath), done, total, unit: 'rows' });
    }
  }
  return statistics;
}

function imageSplitter(settings: PrepareSettings, pairs: readonly IdxPair[], featureCount: number) {
  const [train, validation, test] = settings.split;
  const splitOf = rowSplitter(settings.seed, [train, validation, pairs.some((pair) => pair.isTest) ? 0 : test]);
  const bytes = new Uint8Array(featureCount + 1);
  return (pair: IdxPair, pixels: FeatureArray, label: number): Split => {
    if (pair.isTest) return 'test';
    bytes.set(pixels);
    bytes[featureCount] = label;
    return splitOf(bytes);
  };
}

function sameWidth(pairs: readonly IdxPair[], images: readonly IdxFile[]): number {
  const featureCount = images[0]?.featureCount ?? 0;
  images.forEach((file, i) => {
    if (file.featureCount === featureCount) return;
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${pairs[i]?.imagesPath}: found ${file.featureCount} pixels an image, wanted ${featureCount} as in ${pairs[0]?.imagesPath}`,
    );
  });
  return featureCount;
}
