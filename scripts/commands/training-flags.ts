import { access } from 'node:fs/promises';
import type { Command } from 'commander';
import { parseClasses } from '../../runtime/data/prepare/labels.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { decodeSafeTensors } from '../../runtime/training/safetensors.ts';
import { type Configure, fittedConfiguration, readConfiguration, startingFrom } from '../run/configuration.ts';
import { readInput } from '../run/read-input.ts';
import type { RowSource } from '../run/work-folder.ts';

/** What every command that trains on plain rows is told about them, and about the training. */
export interface TrainingFlags {
  readonly data?: string;
  readonly dataType?: string;
  readonly label?: string;
  readonly classes?: string;
  readonly config?: string;
  readonly initialWeights?: string;
  readonly set: readonly string[];
}

export function withTrainingFlags(command: Command): Command {
  return command
    .option('-i, --data <path>', 'plain rows: a csv file, or a folder of idx files')
    .option('-t, --data-type <type>', 'csv or idx (default: by what is there)')
    .option('-l, --label <column>', 'label column (default: label, target, y or class)')
    .option(
      '--classes <classes>',
      "number or names of the classes; 'values' for a regression (default: those that occur)",
    )
    .option('-c, --config <file>', 'training configuration (default: training.json, else one that fits the data)')
    .option('--initial-weights <file>', 'safetensors file to start from, as open-model --format safetensors writes one')
    .option(
      '--set <field=value>',
      'change one value of the configuration, as in training.epochs=3 (repeatable)',
      (value: string, before: readonly string[]) => [...before, value],
      [],
    );
}

export interface TrainingInput {
  readonly configuration: Configure;
  /** @default - there is none, and none called training.json */
  readonly configFile: string | undefined;
  readonly initialWeights: Uint8Array | undefined;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for all that is wrong without a row having been seen */
export async function readTrainingInput(flags: TrainingFlags): Promise<TrainingInput> {
  const initialWeights = flags.initialWeights === undefined ? undefined : await readWeights(flags.initialWeights);
  const configFile = await chosenFile(flags.config);
  const fromFile =
    configFile === undefined ? fittedConfiguration(flags.set) : await readConfiguration(configFile, flags.set);
  return { configuration: startingFrom(initialWeights, fromFile), configFile, initialWeights };
}

export function rowSource({ dataType, label, classes }: TrainingFlags, inputPath: string): RowSource {
  return {
    inputPath,
    // Anything else is refused when the rows are prepared, with the types there are.
    ...(dataType === undefined ? {} : { dataType: dataType as 'csv' | 'idx' }),
    ...(label === undefined ? {} : { label }),
    ...(classes === undefined ? {} : { classes: parseClasses(classes) }),
  };
}

async function chosenFile(path: string | undefined): Promise<string | undefined> {
  if (path !== undefined) return path;
  const present = await access('training.json').then(
    () => true,
    () => false,
  );
  return present ? 'training.json' : undefined;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID`: what the trainer would not read is refused before anything is agreed to */
async function readWeights(path: string): Promise<Uint8Array> {
  const bytes = Uint8Array.from(await readInput(path));
  try {
    decodeSafeTensors(bytes);
    return bytes;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'no safetensors';
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: ${reason}`, { cause });
  }
}
