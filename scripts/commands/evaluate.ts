import { join } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { chooseDeployment } from '../context.ts';
import { buildCustomTrainer, customOf, requireDeployed } from '../custom/custom-trainer.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { readModelCard } from '../model/card-file.ts';
import { type OpenedModel, readOpenedModel } from '../model/opened-model.ts';
import { type SplitScores, scoreLines } from '../model/score-table.ts';
import { count, type Reporter, terminalReporter } from '../progress.ts';
import { explainAgreement } from '../run/approve.ts';
import { agreeToMeasure, hasCode, measured, requireToMeasure } from '../run/evaluate.ts';
import { evaluatePlain } from '../run/evaluate-plain.ts';
import { finishRun } from '../run/pipeline.ts';
import { confirm, readAgreementFile } from './approve.ts';

interface EvaluateFlags {
  readonly model: string;
  readonly data?: string;
  readonly dataset?: string[];
  readonly agreement?: string;
  readonly config: string;
  readonly ownerKey: string;
  readonly modelsDir: string;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description(
      'measure a model that open-model opened: on plain rows here, or on sealed ones in a machine, with a receipt',
    )
    .requiredOption('-m, --model <folder>', "what 'ctrain open-model' left")
    .option(
      '-i, --data <file>',
      'plain rows with their classes: a table, or an arrow file of prepare-data; all of them count',
    )
    .option('-s, --dataset <prefix...>', 'your uploaded datasets: their validation and test splits')
    .option('-a, --agreement <file>', "a signed agreement that 'ctrain propose --evaluate' wrote")
    .option('-c, --config <file>', 'configuration beside the modules of a model with code of its own', 'training.json')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--models-dir <folder>', 'where receipt, scores and card go', 'models')
    .option('-y, --yes', 'sign without asking')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator); not of --data')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain evaluate --model models/RUN --data new-rows.csv
  $ ctrain evaluate --model models/RUN --dataset OWNER/digits/1 --yes
  $ ctrain evaluate --model models/RUN --agreement agreement.dsse.json --deployment deployment.json

Metrics are the same either way. Plain rows are read as they are and prove nothing; of sealed ones a receipt says which weights
scored what on which manifests. Rows that the model was trained on tell nothing of new ones.`,
    )
    .action(async (flags: EvaluateFlags) => {
      const { data, dataset, agreement } = flags;
      if ([data, dataset, agreement].filter((each) => each !== undefined).length !== 1) {
        const message = 'evaluate wants one of --data FILE, --dataset PREFIX and --agreement FILE';
        throw new SecureTrainingError('CONFIG_INVALID', message);
      }
      const model = await readOpenedModel(flags.model);
      const reporter = terminalReporter(process.stdout, { quiet: flags.json === true });
      if (data === undefined) await evaluateSealed(model, flags, reporter);
      else await evaluateHere(model, data, flags, reporter);
    });
}

async function evaluateHere(model: OpenedModel, data: string, { json }: EvaluateFlags, { line }: Reporter) {
  const banner = 'plain rows, in this process: nothing is sealed, and nothing proves what comes of it';
  if (json === true) console.error(banner);
  else line(banner);
  const { rows, metrics, scores } = await evaluatePlain(model, data);
  if (json === true)
    console.log(
      JSON.stringify({ kind: 'plain', rows, metrics, ...(scores === undefined ? {} : { scores: { test: scores } }) }),
    );
  else {
    line(`  ${count(rows)} rows of ${data}`);
    tell(metrics, scores === undefined ? {} : { test: scores }, line);
  }
}

async function evaluateSealed(model: OpenedModel, flags: EvaluateFlags, reporter: Reporter): Promise<void> {
  const say = flags.json === true ? console.error : reporter.line;
  const keys = await loadLocalKeys(flags.ownerKey);
  const agreed = flags.agreement === undefined ? undefined : await readAgreementFile(flags.agreement);
  const named = hasCode(model) ? await customOf(flags.config) : undefined;
  const trainer = named === undefined ? undefined : await buildCustomTrainer(named.custom);
  const context = await (await chooseDeployment(flags.deployment, say, trainer?.file)).open();
  try {
    if (trainer !== undefined) requireDeployed(context, trainer, flags.config);
    if (agreed !== undefined) await requireToMeasure(context, agreed, model);
    const agreement =
      agreed ??
      (await agreeToMeasure(context, keys, model, {
        prefixes: flags.dataset ?? [],
        workDir: join('.ctrain', 'work'),
        consent: async (proposed) => {
          for (const line of explainAgreement(proposed)) say(`  ${line}`);
          if (flags.yes !== true) await confirm('Sign this?');
        },
        ...(named === undefined ? {} : { custom: named.custom }),
      }));
    const { weights } = measured(model);
    const { runId, folder, content } = await finishRun(context, keys, agreement, flags.modelsDir, reporter, weights);
    const { scores = {}, receipt, kind } = await readModelCard(folder);
    if (flags.json === true) {
      console.log(JSON.stringify({ kind, runId, folder, metrics: content.metrics, scores, verdict: receipt?.verdict }));
    } else {
      tell(content.metrics, scores, reporter.line);
      reporter.line(`  ${receipt?.verdict}: receipt in ${folder}`);
    }
  } finally {
    await context.close();
  }
}

function tell(
  metrics: Readonly<Record<string, number>>,
  scores: Readonly<Record<string, SplitScores>>,
  line: (text: string) => void,
): void {
  for (const [name, value] of Object.entries(metrics)) line(`  ${name.padEnd(26)} ${value}`);
  for (const [split, each] of Object.entries(scores)) {
    line(`  ${split} split`);
    for (const text of scoreLines(each)) line(`  ${text}`);
  }
}
