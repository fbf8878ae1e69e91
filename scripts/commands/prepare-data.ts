import { join } from 'node:path';
import { Command, Option } from 'commander';
import { DATASET_FILE } from '../../runtime/data/dataset-file.ts';
import {
  BAD_ROW_POLICIES,
  type BadRowPolicy,
  parseCeiling,
  REJECTED_FILE,
} from '../../runtime/data/prepare/bad-rows.ts';
import { parseRange } from '../../runtime/data/prepare/columns.ts';
import { parseClasses } from '../../runtime/data/prepare/labels.ts';
import { parseMissing } from '../../runtime/data/prepare/missing.ts';
import type { NormalisationKind } from '../../runtime/data/prepare/normalise.ts';
import {
  type Coding,
  DATA_TYPES,
  type DataType,
  DEFAULT_SEED,
  type ImageColours,
  OUTPUT_FORMATS,
  type OutputFormat,
} from '../../runtime/data/prepare/options.ts';
import { type PrepareResult, prepareData } from '../../runtime/data/prepare/prepare.ts';
import { REPORT_PAGE } from '../../runtime/data/prepare/report.ts';
import { parseImageSize } from '../../runtime/data/prepare/settings.ts';
import { DEFAULT_SHARES, parseShares } from '../../runtime/data/prepare/split.ts';
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
  readonly name?: string;
  readonly label?: string;
  readonly classes?: string;
  readonly features?: readonly string[];
  readonly drop?: readonly string[];
  readonly categorical?: readonly string[];
  readonly coding?: Coding;
  readonly range?: readonly string[];
  readonly missing?: string;
  readonly split: string;
  readonly seed: string;
  readonly stratify?: boolean;
  readonly group?: string;
  readonly normalise?: NormalisationKind;
  readonly onBadRow?: BadRowPolicy;
  readonly maxRejected?: string;
  readonly labelsPath?: string;
  readonly imageSize?: string;
  readonly imageColours?: ImageColours;
  readonly json?: boolean;
}

export function prepareDataCommand(): Command {
  return new Command('prepare-data')
    .description('check every row of your data and split it into train, validation and test')
    .requiredOption(
      '-i, --input-path <path>',
      'a table or array in a file, or a folder of idx files or of images by class',
    )
    .option('-o, --output-dir <folder>', 'where the prepared files go', DEFAULT_PREPARED_FOLDER)
    .option(
      '-t, --data-type <type>',
      `${DATA_TYPES.join(', ')} (default: as the extension, or what is in the folder, says)`,
    )
    .option(
      '-f, --output-format <format>',
      `${OUTPUT_FORMATS.join(', ')} (default: csv for csv and tsv, else arrow, which is faster to write and to seal)`,
    )
    .option('-n, --name <name>', "name of the dataset (default: the input's name)")
    .optionsGroup('Columns of a table:')
    .option('-l, --label <column>', 'label column (default: the one called label, target, y or class)')
    .option(
      '-c, --classes <classes>',
      'number of classes, or their names separated by commas (default: those that occur)',
    )
    .option('--features <columns>', 'columns to learn from, separated by commas (default: all that are left)', list)
    .option('--drop <columns>', 'columns to leave out, separated by commas', list)
    .option('--categorical <columns>', 'features that hold names, separated by commas', list)
    .option('--coding <coding>', 'how names become numbers: one-hot or ordinal (default: one-hot)')
    .addOption(
      new Option('--range <column=low:high>', 'numbers a column may hold; either end may be left out').argParser(
        (text: string, before: readonly string[] = []) => [...before, text],
      ),
    )
    .option('--missing <policy>', 'what an empty cell becomes: fail, drop-row, mean or constant=NUMBER (default: fail)')
    .optionsGroup('Splits and rows:')
    .option('-s, --split <shares>', 'shares of train, validation and test', DEFAULT_SHARES.join(','))
    .option('--seed <number>', 'decides which row goes where', String(DEFAULT_SEED))
    .option('--stratify', 'give every class the same shares')
    .option('--group <column>', 'rows with the same value here, for example of one person, stay in one split')
    .option(
      '--normalise <kind>',
      'auto, none, scale or standard (default: auto, pixels are scaled and all else standardised)',
    )
    .option(
      '--on-bad-row <policy>',
      `${BAD_ROW_POLICIES.join(' or ')}, which lists them in ${REJECTED_FILE} (default: fail)`,
    )
    .option('--max-rejected <ceiling>', 'rows, or a percentage, that may be rejected before all is (default: 1%)')
    .optionsGroup('Arrays and images:')
    .option('--labels-path <file>', 'labels of an npy file (default: NAME-labels.npy or labels.npy beside it)')
    .option('--image-size <WxH>', 'stretch images to this size (default: all must have one size)')
    .option('--image-colours <colours>', 'grey or rgb (default: as the first image is)')
    .optionsGroup('Output:')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain prepare-data --input-path data.csv --output-dir processed --data-type csv
  $ ctrain prepare-data -i visits.parquet --label outcome --drop id --group patient --missing mean
  $ ctrain prepare-data -i people.csv --categorical city,job --range age=0:120 --on-bad-row reject
  $ ctrain prepare-data -i mnist/ -t idx -n mnist
  $ ctrain prepare-data -i photos/ --image-size 64x64 --stratify

Writes train, validation, test, ${DATASET_FILE} and a report (${REPORT_PAGE}: look at it); nothing when a row is wrong.
A row keeps its split whatever stands before it in the file. What is learnt from rows (means, categories) is learnt from
train alone. In a folder of idx files the rows of t10k-* are the test split, the others are shared out.
What is written is plaintext: remove it once it is sealed.`,
    )
    .action(async (flags: PrepareFlags) => {
      const { split, seed, classes, normalise, json, range, missing, maxRejected, imageSize, ...given } = flags;
      const options = {
        ...given,
        split: parseShares(split),
        seed: seed.trim() === '' ? Number.NaN : Number(seed),
        ...(classes === undefined ? {} : { classes: parseClasses(classes) }),
        ...(normalise === undefined ? {} : { normalisation: normalise }),
        ...(range === undefined ? {} : { ranges: Object.fromEntries(range.map(parseRange)) }),
        ...(missing === undefined ? {} : { missing: parseMissing(missing) }),
        ...(maxRejected === undefined ? {} : { maxRejected: parseCeiling(maxRejected) }),
        ...(imageSize === undefined ? {} : { imageSize: parseImageSize(imageSize) }),
      };
      const reporter = terminalReporter(process.stderr, { quiet: json === true });
      const result = await reporter.step(
        'prepare data',
        (show) => prepareData({ ...options, onProgress: showing(show) }),
        summary,
      );
      const { outputDir, description, report } = result;
      if (json === true) return console.log(JSON.stringify({ outputDir, ...description, report }));
      for (const warning of report.warnings) console.error(`warning: ${warning}`);
      console.log(`report: ${join(outputDir, REPORT_PAGE)}`);
      console.log(`next: ctrain encrypt-data --input-path ${outputDir}`);
    });
}

function list(text: string): readonly string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function summary({ description, report, outputDir }: PrepareResult): string {
  const splits = SPLITS.map((split) => `${count(description.splits[split].rows)} ${split}`).join(', ');
  const { featureCount, dtype, classes } = description.schema;
  const left = [
    report.rejected > 0 ? `, ${count(report.rejected)} rejected` : '',
    report.incomplete > 0 ? `, ${count(report.incomplete)} left out as incomplete` : '',
  ].join('');
  return `${splits}${left}; ${count(featureCount)} features (${dtype}), ${classes.length} classes, in ${outputDir}`;
}
