import { Command } from 'commander';
import { checkRunId } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { openErrors } from '../run/open-errors.ts';
import { runStore } from '../run/submit.ts';

/** Whatever escape sequences a module's text holds, a terminal gets none of them. */
const CONTROL = /[^\P{Cc}\n\t]/gu;

export function errorsCommand(): Command {
  return new Command('errors')
    .description('read what the custom module of a failed run said: sealed to the data owners, for it may quote rows')
    .argument('<run>', "id of a run, as 'ctrain runs' lists it")
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText('after', '\nExample:\n  $ ctrain errors run-20261123-201500-1a2b3c')
    .action(async (runId: string, flags: { ownerKey: string; json?: boolean; deployment?: string }) => {
      const keys = await loadLocalKeys(flags.ownerKey);
      checkRunId(runId);
      const context = await openContext(flags.deployment, console.error);
      try {
        const text = await openErrors(runStore(context), keys, runId);
        console.log(flags.json === true ? JSON.stringify({ runId, text }) : text.replaceAll(CONTROL, ' '));
      } finally {
        await context.close();
      }
    });
}
