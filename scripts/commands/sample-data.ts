import { extname } from 'node:path';
import { Command } from 'commander';
import { encodeShard } from '../../runtime/data/arrow-shard.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { csvCell } from '../../runtime/data/prepare/cells.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseEnvelope, readStatement } from '../../runtime/statements/dsse.ts';
import { type DatasetSchema, parseManifest, verifyManifest } from '../../runtime/statements/manifest.ts';
import { count } from '../progress.ts';
import { type OwnerFlags, ownerOf } from '../run/owner-key.ts';
import { readInput } from '../run/read-input.ts';
import { type SampleRows, sampleRows } from '../run/sample-rows.ts';

interface SampleDataFlags extends OwnerFlags {
  readonly manifest: string;
  readonly rows: string;
  readonly seed: string;
  readonly output: string;
}

const MAXIMUM_ROWS = 1_000_000;
/** They are made in memory. */
const MAXIMUM_VALUES = 50_000_000;

export function sampleDataCommand(): Command {
  return new Command('sample-data')
    .description(
      'make up rows in the form of a sealed dataset, to write and try code with before there is an agreement',
    )
    .requiredOption('-m, --manifest <file>', 'manifest.dsse.json of the dataset: it tells the form, and no row')
    .option('-n, --rows <count>', 'how many', '1000')
    .option('--seed <number>', 'the same seed makes the same rows', '42')
    .option('-o, --output <file>', 'csv file as the owner had it, or arrow file as the trainer reads it', 'sample.csv')
    .option('--owner <jwk>', 'public key that must have signed the manifest, as a JWK file')
    .option('--owner-key <file>', 'or your local key, whose signature it must carry')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain sample-data --manifest encrypted/manifest.dsse.json
  $ ctrain sample-data --manifest manifest.dsse.json --rows 200 --output sample.arrow

The rows are made up: they hold no row of anybody, and what a model learns from them means nothing.`,
    )
    .action(async (flags: SampleDataFlags) => {
      const extension = extname(flags.output).toLowerCase();
      if (extension !== '.csv' && extension !== '.arrow')
        throw invalid(`--output: found ${flags.output}, wanted a name that ends in .csv or .arrow`);
      const rows = wholeNumber('--rows', flags.rows, 1, MAXIMUM_ROWS);
      const seed = wholeNumber('--seed', flags.seed, 0, 2 ** 31 - 1);
      const schema = await readSchema(flags);
      if (rows * schema.featureCount > MAXIMUM_VALUES) {
        const most = Math.floor(MAXIMUM_VALUES / schema.featureCount);
        throw invalid(`--rows: found ${rows}, wanted at most ${most} rows of ${schema.featureCount} features`);
      }
      const sample = sampleRows(schema, rows, seed);
      await writeFileAtomic(flags.output, extension === '.csv' ? csvOf(sample) : arrowOf(sample, schema));
      console.log(`${count(rows)} made-up rows of ${count(sample.header.length - 1)} columns in ${flags.output}`);
    });
}

async function readSchema(flags: SampleDataFlags): Promise<DatasetSchema> {
  const bytes = await readInput(flags.manifest);
  const owner = await ownerOf(flags);
  if (owner !== undefined) return verifyManifest(bytes, owner, flags.manifest).manifest.schema;
  console.error(`${flags.manifest}: nobody's signature was checked; --owner or --owner-key does that`);
  const { statement } = readStatement(parseEnvelope(bytes, flags.manifest), flags.manifest);
  return parseManifest(statement, flags.manifest).schema;
}

function csvOf({ header, cells }: SampleRows): string {
  return [header, ...cells].map((row) => `${row.map(csvCell).join(',')}\n`).join('');
}

function arrowOf({ features, labels }: SampleRows, { featureCount }: DatasetSchema): Uint8Array {
  return encodeShard({ features, featureCount, labels }, { version: 1, split: 'train' });
}

function wholeNumber(flag: string, text: string, low: number, high: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isSafeInteger(value) && value >= low && value <= high) return value;
  throw invalid(`${flag}: found ${text}, wanted a whole number from ${low} to ${high}`);
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
