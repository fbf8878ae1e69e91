import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { count, type Reporter, terminalReporter } from '../progress.ts';
import { explainAgreement } from '../run/approve.ts';
import { type FinishedRun, finishRun, prepareRun } from '../run/pipeline.ts';
import { verifyFolder } from '../run/verify-folder.ts';
import { confirm, readAgreementFile } from './approve.ts';
import { readTrainingConfig } from './propose.ts';
import { verdictLines } from './verify.ts';

interface TrainFlags {
  readonly data?: string;
  readonly dataType?: string;
  readonly label?: string;
  readonly agreement?: string;
  readonly config?: string;
  readonly keyFile: string;
  readonly modelsDir: string;
  readonly keepPlaintext?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function trainCommand(): Command {
  return new Command('train')
    .description('do every step not yet done: prepare, seal, upload, agree, train, open the model')
    .option('-i, --data <path>', 'plain rows: a csv file, or a folder of idx files')
    .option('-t, --data-type <type>', 'csv or idx (default: by what is there)')
    .option('-l, --label <column>', 'label column (default: label, target, y or class)')
    .option('-a, --agreement <file>', 'instead of --data: a signed agreement about data already uploaded')
    .option('-c, --config <file>', 'training configuration (default: training.json, else one that fits the data)')
    .option('-k, --key-file <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('-m, --models-dir <folder>', 'where the opened model goes', 'models')
    .option('--keep-plaintext', 'keep the prepared rows that were made on the way')
    .option('-y, --yes', 'sign without asking')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain train --data data.csv
  $ ctrain train --agreement agreement.dsse.json --deployment deployment.json --yes

Stopped at any moment, the same command goes on: an unfinished run resumes from its newest checkpoint.`,
    )
    .action(async (flags: TrainFlags) => {
      if ((flags.data === undefined) === (flags.agreement === undefined)) {
        throw new SecureTrainingError('CONFIG_INVALID', 'train wants either --data FILE or --agreement FILE');
      }
      const keys = await loadLocalKeys(flags.keyFile);
      const configuration = await chosenConfiguration(flags.config);
      const reporter = terminalReporter(process.stdout, { quiet: flags.json === true });
      const context = await openContext(flags.deployment, flags.json === true ? console.error : reporter.line);
      try {
        const agreement =
          flags.data === undefined
            ? await readAgreementFile(flags.agreement ?? '')
            : (
                await prepareRun(
                  context,
                  keys,
                  {
                    data: {
                      inputPath: flags.data,
                      ...(flags.dataType === undefined ? {} : { dataType: flags.dataType as 'csv' | 'idx' }),
                      ...(flags.label === undefined ? {} : { label: flags.label }),
                    },
                    configuration,
                    workDir: join('.ctrain', 'work'),
                    keepPlaintext: flags.keepPlaintext === true,
                    consent: async (proposed) => {
                      for (const line of explainAgreement(proposed)) reporter.line(`  ${line}`);
                      if (flags.yes !== true) await confirm('Sign this?');
                    },
                  },
                  reporter,
                )
              ).agreement;
        const run = await finishRun(context, keys, agreement, flags.modelsDir, reporter);
        const { emulator } = context.deployment;
        const verdict = await verifyFolder(run.folder, {
          owners: [keys.ownerId],
          ...(emulator === undefined ? {} : { emulatorRoots: emulator.rootsFile }),
        });
        if (flags.json === true) {
          const { runId, folder, content } = run;
          console.log(JSON.stringify({ runId, folder, metrics: content.metrics, model: content.model, verdict: verdict.verdict }));
        } else {
          for (const line of verdictLines(verdict)) reporter.line(line);
          summarise(run, reporter);
        }
      } finally {
        await context.close();
      }
    });
}

async function chosenConfiguration(path: string | undefined) {
  if (path !== undefined) return readTrainingConfig(path);
  const present = await access('training.json').then(
    () => true,
    () => false,
  );
  return present ? readTrainingConfig('training.json') : undefined;
}

function summarise({ content, folder }: FinishedRun, { line }: Reporter): void {
  for (const [name, value] of Object.entries(content.metrics)) line(`  ${name.padEnd(20)} ${value}`);
  line(`  model in ${folder} (${count(content.model.length)} files), engine ${content.engine.backend}`);
}
