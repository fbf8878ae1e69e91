import { join } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type ChosenDeployment, type Context, chooseDeployment } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { buildCustomTrainer, customOf, requireDeployed } from '../custom/custom-trainer.ts';
import { DEFAULT_KEY_FILE, type LocalKeys, loadLocalKeys } from '../local-keys.ts';
import { readModelCard } from '../model/card-file.ts';
import { scoreLines } from '../model/score-table.ts';
import { count, type Reporter, terminalReporter } from '../progress.ts';
import { explainAgreement, readAgreement } from '../run/approve.ts';
import type { Configure } from '../run/configuration.ts';
import { type DryRun, type DryRunOptions, dryRunOnAgreement, dryRunOnFile } from '../run/dry-run.ts';
import { dryRunLines } from '../run/dry-run-lines.ts';
import { agreeOnRows, type FinishedRun, finishRun, type PipelineOptions, prepareRows } from '../run/pipeline.ts';
import { verifyFolder } from '../run/verify-folder.ts';
import { confirm, readAgreementFile } from './approve.ts';
import { readTrainingInput, rowSource, type TrainingFlags, withTrainingFlags } from './training-flags.ts';
import { verdictLines } from './verify.ts';

const WORK_DIR = join('.ctrain', 'work');

interface TrainFlags extends TrainingFlags {
  readonly agreement?: string;
  readonly ownerKey: string;
  readonly modelsDir: string;
  readonly keepPlaintext?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly deployment?: string;
}

export function trainCommand(): Command {
  return withTrainingFlags(
    new Command('train').description('do every step not yet done: prepare, seal, upload, agree, train, open the model'),
  )
    .option('-a, --agreement <file>', 'instead of --data: a signed agreement about data already uploaded')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('-m, --models-dir <folder>', 'where the opened model goes', 'models')
    .option('--keep-plaintext', 'keep the prepared rows that were made on the way')
    .option('-y, --yes', 'sign without asking')
    .option('--dry-run', 'only look: the model, its memory and one batch; nothing is sealed, signed or started')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain train --data data.csv
  $ ctrain train --data data.csv --set training.epochs=3 --set training.schedule=cosine
  $ ctrain train --data data.csv --dry-run
  $ ctrain train --agreement agreement.dsse.json --deployment deployment.json --yes

Ctrl-C while it trains keeps a checkpoint (exit code 130). Stopped at any moment, the same command goes on: an unfinished run
resumes from its newest checkpoint.`,
    )
    .action(async (flags: TrainFlags) => {
      if ((flags.data === undefined) === (flags.agreement === undefined)) {
        throw new SecureTrainingError('CONFIG_INVALID', 'train wants either --data FILE or --agreement FILE');
      }
      if (flags.agreement !== undefined && flags.set.length > 0) {
        throw new SecureTrainingError('CONFIG_INVALID', '--set changes nothing that is agreed already: leave it out');
      }
      const keys = flags.dryRun === true ? undefined : await loadLocalKeys(flags.ownerKey);
      const { configuration, configFile, initialWeights } = await readTrainingInput(flags);
      const named = (await isDeclarative(flags.agreement)) ? undefined : await customOf(configFile);
      if (keys === undefined) return dryRunOf(flags, configuration, initialWeights, named?.custom);
      const trainer = named === undefined ? undefined : await buildCustomTrainer(named.custom);
      const reporter = terminalReporter(process.stdout, { quiet: flags.json === true });
      const say = flags.json === true ? console.error : reporter.line;
      const chosen = await chooseDeployment(flags.deployment, say, trainer?.file);
      // Looks at what it is given before anything is started: a wrong row costs nobody an emulator.
      const agree =
        flags.data === undefined
          ? await agreedBefore(flags.agreement ?? '')
          : await agreeingOn(
              chosen,
              keys,
              pipelineOptions(flags, flags.data, configuration, say, named?.custom),
              reporter,
            );
      const context = await chosen.open();
      try {
        if (trainer !== undefined) requireDeployed(context, trainer, configFile ?? 'training.json');
        const agreement = await agree(context);
        const run = await finishRun(context, keys, agreement, flags.modelsDir, reporter, initialWeights);
        const { emulator } = context.deployment;
        const verdict = await verifyFolder(run.folder, {
          owners: [keys.ownerId],
          ...(emulator === undefined ? {} : { emulatorRoots: emulator.rootsFile }),
        });
        if (flags.json === true) {
          const { runId, folder, content } = run;
          console.log(
            JSON.stringify({ runId, folder, metrics: content.metrics, model: content.model, verdict: verdict.verdict }),
          );
        } else {
          for (const line of verdictLines(verdict)) reporter.line(line);
          summarise(run, reporter);
          const { scores } = await readModelCard(run.folder);
          for (const [split, each] of Object.entries(scores ?? {}))
            for (const line of [`${split} split`, ...scoreLines(each)]) reporter.line(`  ${line}`);
        }
      } finally {
        await context.close();
      }
    });
}

/** Asks for no key, and starts nothing: a deployment that does not run is not asked for its datasets. */
async function dryRunOf(
  flags: TrainFlags,
  configuration: Configure,
  initialWeights: Uint8Array | undefined,
  custom: CustomBundle | undefined,
): Promise<void> {
  const options = {
    ...(initialWeights === undefined ? {} : { initialWeights }),
    ...(custom === undefined ? {} : { custom }),
  };
  const found =
    flags.data === undefined
      ? await dryRunAgreed(flags, options)
      : await dryRunOnFile(rowSource(flags, flags.data), configuration, WORK_DIR, options);
  if (flags.json === true) console.log(JSON.stringify(found));
  else for (const line of dryRunLines(found)) console.log(line);
}

async function dryRunAgreed({ agreement = '', deployment }: TrainFlags, options: DryRunOptions): Promise<DryRun> {
  const agreed = readAgreement(await readAgreementFile(agreement));
  const chosen = await chooseDeployment(deployment, console.error);
  const context = chosen.running ? await chosen.open() : undefined;
  try {
    return await dryRunOnAgreement(agreed, context, options);
  } finally {
    await context?.close();
  }
}

type Agree = (context: Context) => Promise<Uint8Array>;

async function agreedBefore(path: string): Promise<Agree> {
  const bytes = await readAgreementFile(path);
  readAgreement(bytes);
  return async () => bytes;
}

async function agreeingOn(
  chosen: ChosenDeployment,
  keys: LocalKeys,
  options: PipelineOptions,
  reporter: Reporter,
): Promise<Agree> {
  const rows = await prepareRows(chosen.deployment, keys, options, reporter);
  return async (context) => (await agreeOnRows(context, keys, rows, options, reporter)).agreement;
}

/** Whether it was agreed that there is no custom code, whatever the configuration at hand names. */
async function isDeclarative(agreement: string | undefined): Promise<boolean> {
  return agreement !== undefined && readAgreement(await readAgreementFile(agreement)).customCode === false;
}

function pipelineOptions(
  flags: TrainFlags,
  inputPath: string,
  configuration: Configure,
  say: (line: string) => void,
  custom: CustomBundle | undefined,
): PipelineOptions {
  return {
    data: rowSource(flags, inputPath),
    configuration,
    ...(custom === undefined ? {} : { custom }),
    workDir: WORK_DIR,
    keepPlaintext: flags.keepPlaintext === true,
    consent: async (proposed) => {
      for (const line of explainAgreement(proposed)) say(`  ${line}`);
      if (flags.yes !== true) await confirm('Sign this?');
    },
  };
}

function summarise({ content, folder }: FinishedRun, { line }: Reporter): void {
  for (const [name, value] of Object.entries(content.metrics)) line(`  ${name.padEnd(20)} ${value}`);
  line(`  model in ${folder} (${count(content.model.length)} files), engine ${content.engine.backend}`);
}
