import { join } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { requireFit } from '../../runtime/open-datasets.ts';
import type { Progress } from '../../runtime/training/frames.ts';
import { customOf } from '../custom/custom-trainer.ts';
import { Interruption, interruptible } from '../interrupt.ts';
import { scoreLines } from '../model/score-table.ts';
import { count, type StepState, terminalReporter } from '../progress.ts';
import { plainRows } from '../run/plain-rows.ts';
import { progressText } from '../run/submit.ts';
import { tryRun } from '../run/try-run.ts';
import { fingerprint, shortDigest } from '../run/work-folder.ts';
import { readTrainingInput, rowSource, type TrainingFlags, withTrainingFlags } from './training-flags.ts';

/** Beside what `train` keeps. */
export const TRY_DIR = join('.ctrain', 'try');
export const NOT_CONFIDENTIAL = 'NOT CONFIDENTIAL: plain rows, in this process; no keys, no receipt';

interface TryFlags extends TrainingFlags {
  readonly modelsDir: string;
  readonly json?: boolean;
}

export function tryCommand(): Command {
  return withTrainingFlags(
    new Command('try').description('train the same model with the same configuration on plain rows, in this process'),
  )
    .option('-m, --models-dir <folder>', 'where the model goes', 'models')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain try --data data.csv
  $ ctrain try --data data.csv --config training.json --set training.epochs=2
  $ ctrain try --data processed

NOT CONFIDENTIAL: for rows of your own, or made up ('ctrain sample-data'). The same rows, configuration and backend make the same
weights in a trainer. --data may be a folder that prepare-data left. Stopped by ctrl-C, the same command goes on.`,
    )
    .action(async (flags: TryFlags) => {
      const { data } = flags;
      if (data === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'try wants --data FILE');
      console.error(NOT_CONFIDENTIAL);
      const { configuration, configFile, initialWeights } = await readTrainingInput(flags);
      const custom = (await customOf(configFile))?.custom;
      const reporter = terminalReporter(process.stdout, { quiet: flags.json === true });
      const source = rowSource(flags, data);
      const { folder, card } = await interruptible(async (signal) => {
        const rows = await reporter.step(
          'prepare data',
          () => plainRows(source, TRY_DIR, signal),
          ({ schema, trainRows }) =>
            `${count(trainRows)} rows to train on, ${schema.featureCount} features, ${schema.classes.length} classes`,
        );
        try {
          const config = configuration(rows.schema, rows.trainRows);
          requireFit(rows.schema, config);
          const about = [await fingerprint(source, { ownerId: '' }), config, custom?.sha256];
          const checkpointFile = join(TRY_DIR, `${shortDigest(JSON.stringify(about))}.checkpoint`);
          const given = { rows, config, custom, initialWeights, checkpointFile, modelsDir: flags.modelsDir, signal };
          return await reporter.step(
            'train',
            (show) => tryRun({ ...given, onProgress: (progress) => show(stateOf(progress)) }),
            ({ steps }) => `${count(steps)} steps`,
          );
        } catch (error) {
          if (!signal.aborted) throw error;
          throw new Interruption('stopped: the same command goes on from the last step, where it had begun to train');
        } finally {
          await rows.remove();
        }
      });
      if (flags.json === true) {
        const { runId, kind, metrics, scores, files, engine } = card;
        console.log(JSON.stringify({ runId, kind, folder, metrics, scores, files, engine }));
        return;
      }
      for (const [name, value] of Object.entries(card.metrics)) reporter.line(`  ${name.padEnd(20)} ${value}`);
      for (const [split, each] of Object.entries(card.scores ?? {}))
        for (const line of [`${split} split`, ...scoreLines(each)]) reporter.line(`  ${line}`);
      reporter.line(`  model in ${folder}, engine ${card.engine}`);
    });
}

/** What a progress bar shows of it. */
export function stateOf(progress: Progress): StepState {
  return { fraction: progress.step / progress.steps, detail: progressText(progress) };
}
