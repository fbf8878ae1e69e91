import { join, relative } from 'node:path';
import { Command } from 'commander';
import { checkRunId } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { openModel } from '../run/open-model.ts';
import { runStore } from '../run/submit.ts';

interface OpenModelFlags {
  readonly outputDir?: string;
  readonly ownerKey: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function openModelCommand(): Command {
  return new Command('open-model')
    .description('download the model of a run, check it against its receipt and open it with your key')
    .argument('<run>', "id of a finished run, as 'ctrain runs' lists it")
    .option('-o, --output-dir <folder>', 'where it goes (default: models/RUN)')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain open-model run-20261123-201500-1a2b3c\n\nThe folder holds model/model.json for tf.loadLayersModel, and what ctrain verify needs offline.',
    )
    .action(async (runId: string, flags: OpenModelFlags) => {
      const keys = await loadLocalKeys(flags.ownerKey);
      checkRunId(runId);
      const outputDir = flags.outputDir ?? join('models', runId);
      const context = await openContext(flags.deployment, console.error);
      try {
        const content = await openModel(runStore(context), keys, runId, outputDir);
        if (flags.json === true)
          console.log(JSON.stringify({ outputDir, model: content.model, metrics: content.metrics }));
        else {
          const { emulator } = context.deployment;
          const roots =
            emulator === undefined ? '' : ` --emulator-roots ${relative(process.cwd(), emulator.rootsFile)}`;
          console.log(`model in ${outputDir}; next: ctrain verify ${outputDir}${roots}`);
        }
      } finally {
        await context.close();
      }
    });
}
