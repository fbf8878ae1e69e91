import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { checkRunId, listRuns, type RunStatus } from '../../runtime/queue.ts';
import { type Context, openContext } from '../context.ts';
import { newestRun, runStore } from '../run/submit.ts';
import { changeJson, changeLine, changes } from '../watch/changes.ts';
import { runReader } from '../watch/read-run.ts';
import { writeReport } from '../watch/report.ts';
import { type RunSnapshot, runView } from '../watch/run-view.ts';

/** The emulator is next door, Azure bills by the request. */
const POLL_MS = { emulator: 250, azure: 3000 } as const;

interface WatchFlags {
  readonly run?: string;
  readonly once?: boolean;
  readonly report?: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function watchCommand(): Command {
  return new Command('watch')
    .description('follow a run: its step, progress, metrics, security events and the alerts that they fire')
    .option('--run <id>', 'which one (default: the newest)')
    .option('--once', 'how it stands now, and no more')
    .option('--report <file>', 'how it stands now, as a page that loads nothing')
    .option('--json', 'one JSON object for each change (with --once: one for all)')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain watch
  $ ctrain watch --run run-20261123-201500-1a2b3c --once
  $ ctrain watch --report report.html
  $ ctrain watch --json | jq 'select(.type == "metric")'

On a terminal the view is drawn in place, elsewhere there is a line for each change. Ends with the run: exit code 0 when it finished,
else that of the trainer's error. Security events come from the emulator's log; on Azure they are in the workspace, and not shown.`,
    )
    .action(async (flags: WatchFlags) => {
      const context = await openContext(flags.deployment, console.error);
      try {
        const runId = flags.run === undefined ? await newestId(context) : checkRunId(flags.run);
        if (flags.report !== undefined) {
          await writeReport(context, runId, flags.report);
          console.log(`written: ${flags.report}`);
          return;
        }
        const read = runReader(context, runId);
        const status = flags.once === true ? showOnce(await read(), flags) : await follow(context, read, flags);
        requireGood(runId, status);
      } finally {
        await context.close();
      }
    });
}

async function newestId(context: Context): Promise<string> {
  const newest = newestRun(await listRuns(runStore(context)));
  if (newest !== undefined) return newest.request.runId;
  throw new SecureTrainingError('CONFIG_INVALID', 'there is no run yet: ctrain train starts one');
}

function showOnce(snapshot: RunSnapshot, { json }: WatchFlags): RunStatus | undefined {
  if (json === true) {
    const { at: _, ...rest } = snapshot;
    console.log(JSON.stringify(rest));
  } else for (const line of runView()(snapshot, process.stdout.columns ?? 160)) console.log(line);
  return snapshot.status;
}

async function follow(
  { deployment }: Context,
  read: () => Promise<RunSnapshot>,
  { json }: WatchFlags,
): Promise<RunStatus | undefined> {
  const isDrawn = json !== true && process.stdout.isTTY;
  const [view, changed] = [runView(), changes()];
  let drawn = 0;
  let isAway = false;
  for (;;) {
    const snapshot = await read().catch((error: unknown) => {
      if (!(error instanceof SecureTrainingError && error.code === 'UNAVAILABLE')) throw error;
      return undefined;
    });
    if (snapshot === undefined && !isAway) console.error('the store does not answer: asking again');
    isAway = snapshot === undefined;
    if (snapshot !== undefined && isDrawn) {
      const lines = view(snapshot, process.stdout.columns);
      // Up to the first line of before, and everything below it away.
      process.stdout.write(`${drawn === 0 ? '' : `\u001b[${drawn}A\u001b[0J`}${lines.join('\n')}\n`);
      drawn = lines.length;
    } else if (snapshot !== undefined) {
      for (const change of changed(snapshot)) {
        const line = json === true ? JSON.stringify(changeJson(change)) : changeLine(change);
        if (line !== undefined) console.log(line);
      }
    }
    if (['finished', 'refused', 'interrupted'].includes(snapshot?.status?.state ?? '')) return snapshot?.status;
    await delay(POLL_MS[deployment.kind]);
  }
}

function requireGood(runId: string, status: RunStatus | undefined): void {
  if (status?.state !== 'refused' && status?.state !== 'interrupted') return;
  throw new SecureTrainingError(
    status.code ?? 'UNAVAILABLE',
    `run ${runId}, ${status.step}: ${status.message ?? 'ended'}`,
    { failures: status.failures ?? [] },
  );
}
