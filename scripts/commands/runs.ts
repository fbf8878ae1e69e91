import { Command } from 'commander';
import { listRuns, type RunStatus } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { count } from '../progress.ts';
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
          console.log(`${request.runId}  ${(status?.state ?? 'queued').padEnd(11)} ${describe(status)}`);
        }
      } finally {
        await context.close();
      }
    });
}

function describe(status: RunStatus | undefined): string {
  if (status === undefined) return '';
  if (status.message !== undefined) return status.message;
  if (status.state === 'finished') return `${count(status.progress?.steps ?? 0)} steps, ${status.updatedAt}`;
  return status.progress === undefined ? status.step : progressText(status.progress);
}
