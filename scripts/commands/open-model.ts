import { join, relative } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { checkRunId } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { cardOptions, writeModelCard } from '../model/card.ts';
import { MODEL_FORMATS, writeFormat } from '../model/formats.ts';
import { readOpenedModel } from '../model/opened-model.ts';
import { scoreLines } from '../model/score-table.ts';
import { openModel } from '../run/open-model.ts';
import { runStore } from '../run/submit.ts';

interface OpenModelFlags {
  readonly outputDir?: string;
  readonly format: string;
  readonly ownerKey: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function openModelCommand(): Command {
  return new Command('open-model')
    .description('download the model of a run, check it against its receipt and open it with your key')
    .argument('<run>', "id of a finished run, as 'ctrain runs' lists it")
    .option('-o, --output-dir <folder>', 'where it goes (default: models/RUN)')
    .option('-f, --format <format>', `${MODEL_FORMATS.join(', ')}: one more file of the same weights`, 'tfjs')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain open-model run-20261123-201500-1a2b3c\n  $ ctrain open-model run-20261123-201500-1a2b3c --format safetensors\n\nThe folder holds model/model.json for tf.loadLayersModel, a model card, logs/ for TensorBoard, and what ctrain verify\nneeds offline. Every format holds the same weights; the receipt is about model/ alone.',
    )
    .action(async (runId: string, flags: OpenModelFlags) => {
      const format = MODEL_FORMATS.find((known) => known === flags.format);
      if (format === undefined) {
        const wanted = MODEL_FORMATS.join(', ');
        throw new SecureTrainingError('CONFIG_INVALID', `--format: found ${flags.format}, wanted one of ${wanted}`);
      }
      const keys = await loadLocalKeys(flags.ownerKey);
      checkRunId(runId);
      const outputDir = flags.outputDir ?? join('models', runId);
      const context = await openContext(flags.deployment, console.error);
      try {
        const content = await openModel(runStore(context), keys, runId, outputDir);
        const { emulator } = context.deployment;
        const card = await writeModelCard(outputDir, cardOptions(keys, context));
        const file = await writeFormat(format, outputDir, await readOpenedModel(outputDir));
        if (flags.json === true) {
          const { model, metrics } = content;
          const { verdict } = card.receipt ?? {};
          const { scores } = card;
          console.log(
            JSON.stringify({ outputDir, model, metrics, scores, verdict, ...(file === undefined ? {} : { file }) }),
          );
        } else {
          const roots =
            emulator === undefined ? '' : ` --emulator-roots ${relative(process.cwd(), emulator.rootsFile)}`;
          for (const lines of Object.values(card.scores ?? {}).map(scoreLines)) console.log(lines.join('\n'));
          if (file !== undefined) console.log(`written as ${file}`);
          console.log(`model in ${outputDir}; next: ctrain verify ${outputDir}${roots}`);
        }
      } finally {
        await context.close();
      }
    });
}
