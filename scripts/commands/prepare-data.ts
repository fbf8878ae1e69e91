import { Command } from 'commander';
import { DATASET_FILE } from '../../runtime/data/dataset-file.ts';
import { parseClasses } from '../../runtime/data/prepare/labels.ts';
import type { NormalisationKind } from '../../runtime/data/prepare/normalise.ts';
import { type PrepareResult, prepareData } from '../../runtime/data/prepare/prepare.ts';
import { type DataType, DEFAULT_SEED } from '../../runtime/data/prepare/settings.ts';
import { DEFAULT_SHARES, parseShares } from '../../runtime/data/prepare/split.ts';
import type { OutputFormat } from '../../runtime/data/prepare/split-files.ts';
import { SPLITS } from '../../runtime/statements/manifest.ts';
import { count, terminalReporter } from '../progress.ts';
import { showing } from '../show-data-progress.ts';

/** Where prepared rows go unless a folder is named. */
const DEFAULT_PREPARED_FOLDER = 'processed';

interface PrepareFlags {
  readonly inputPath: string;
  readonly outputDir: string;
  readonly dataType?: DataType;
  readonly outputFormat?: OutputFormat;
  readonly label?: string;
  readonly classes?: string;
  readonly split: string;
  readonly seed: string;
  readonly normalise?: NormalisationKind;
  readonly name?: string;
  readonly json?: boolean;
}

export function prepareDataCommand(): Command {
  return new Command('prepare-data')
    .description('check every row of your data and split it into train, validation and test')
    .requiredOption('-i, --input-path <path>', 'csv file with a header, or folder of idx files')
    .option('-o, --output-dir <folder>', 'where the prepared files go', DEFAULT_PREPARED_FOLDER)
    .option('-t, --data-type <type>', 'csv or idx (default: as the extension says; a folder is idx)')
    .option(
      '-f, --output-format <format>',
      'csv or arrow (default: csv for csv, arrow for idx, which is faster to write and to seal)',
    )
    .option('-l, --label <column>', 'label column (default: the one called label, target, y or class)')
    .option(
      '-c, --classes <classes>',
      'number of classes, or their names separated by commas (default: those that occur)',
    )
    .option('-s, --split <shares>', 'shares of train, validation and test', DEFAULT_SHARES.join(','))
    .option('--seed <number>', 'decides which row goes where', String(DEFAULT_SEED))
    .option(
      '--normalise <kind>',
      'auto, none, scale or standard (default: auto, pixels are scaled and all else standardised)',
    )
    .option('-n, --name <name>', "name of the dataset (default: the input's name)")
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain prepare-data --input-path data.csv --output-dir processed --data-type csv
  $ ctrain prepare-data -i mnist/ -t idx -n mnist

Writes train, validation, test and ${DATASET_FILE}; nothing when a row is wrong. A row keeps its split whatever stands
before it in the file. In a folder of idx files the rows of t10k-* are the test split, the others are shared out.
What is written is plaintext: remove it once it is sealed.`,
    )
    .action(async (flags: PrepareFlags) => {
      const { split, seed, classes, normalise, json, ...given } = flags;
      const options = {
        ...given,
        split: parseShares(split),
        seed: seed.trim() === '' ? Number.NaN : Number(seed),
        ...(classes === undefined ? {} : { classes: parseClasses(classes) }),
        ...(normalise === undefined ? {} : { normalisation: normalise }),
      };
      const reporter = terminalReporter(process.stderr, { quiet: json === true });
      const result = await reporter.step(
        'prepare data',
        (show) => prepareData({ ...options, onProgress: showing(show) }),
        summary,
      );
      if (json === true) console.log(JSON.stringify({ outputDir: result.outputDir, ...result.description }));
      else console.log(`next: ctrain encrypt-data --input-path ${result.outputDir}`);
    });
}

function summary({ description, outputDir }: PrepareResult): string {
  const splits = SPLITS.map((split) => `${count(description.splits[split].rows)} ${split}`).join(', ');
  const { featureCount, dtype, classes } = description.schema;
  return `${splits}; ${count(featureCount)} features (${dtype}), ${classes.length} classes, in ${outputDir}`;
}
