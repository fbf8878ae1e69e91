import { Command } from 'commander';
import { listRuns } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { progressText, runStore } from '../run/submit.ts';

export function runsCommand(): Command {
  return new Command('runs')
    .description('list the runs there are and how far each one is')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText('after', '\nExample:\n  $ ctrain runs --json')
    .action(async ({ json, deployment }: { json?: boolean; deployment?: string }) => {
      const context = await openContext(deployment, console.error);
      try {
        const runs = await listRuns(runStore(context));
        if (json === true) {
          console.log(JSON.stringify(runs));
          return;
        }
        if (runs.length === 0) console.log('no runs yet');
        for (const { request, status } of runs) {
          const where =
            status?.progress === undefined || status.state === 'finished'
              ? (status?.step ?? '')
              : progressText(status.progress);
          console.log(`${request.runId}  ${(status?.state ?? 'queued').padEnd(11)} ${status?.message ?? where}`);
        }
      } finally {
        await context.close();
      }
    });
}
