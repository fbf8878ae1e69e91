import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { EXIT_CODES, SecureTrainingError } from '../../runtime/errors.ts';
import { checkRunId, type ListedRun, listRuns } from '../../runtime/queue.ts';
import { printable } from '../../runtime/shape.ts';
import { type Context, openContext } from '../context.ts';
import { readConsole } from '../diagnose/console.ts';
import { type Diagnosis, diagnose } from '../diagnose/diagnose.ts';
import { parseRows, type Row } from '../run/access-rows.ts';
import { readInput } from '../run/read-input.ts';
import { runStore } from '../run/submit.ts';
import { eventTail } from '../watch/event-tail.ts';

interface DiagnoseFlags {
  readonly run?: string;
  readonly console?: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function diagnoseCommand(): Command {
  return new Command('diagnose')
    .description('where a run stopped, why, what says so, and what to do next')
    .option('--run <id>', 'which one (default: the newest)')
    .option('--console <file>', "the machine's serial console (emulator: its own)")
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain diagnose
  $ az vm boot-diagnostics get-boot-log --name VM --resource-group GROUP --output tsv > console.log
  $ ctrain diagnose --deployment deployment.json --run run-20261123-201500-1a2b3c --console console.log

Nobody can enter the machine: this joins the run's status, the console, the trainer's events and the vault's log.
Exit codes: 0 nothing is wrong, else that of what is.`,
    )
    .action(async (flags: DiagnoseFlags) => {
      const context = await openContext(flags.deployment, console.error);
      try {
        const run = await findRun(context, flags.run);
        const found = await diagnosed(context, run, flags.console);
        if (flags.json === true) console.log(JSON.stringify({ runId: run.request.runId, ...found }));
        else for (const line of lines(run.request.runId, found)) console.log(printable(line));
        process.exitCode = found.code === undefined ? 0 : EXIT_CODES[found.code];
      } finally {
        await context.close();
      }
    });
}

async function findRun(context: Context, runId: string | undefined): Promise<ListedRun> {
  const runs = await listRuns(runStore(context));
  if (runId !== undefined) checkRunId(runId);
  const found = runId === undefined ? runs.at(-1) : runs.find(({ request }) => request.runId === runId);
  if (found !== undefined) return found;
  const message =
    runId === undefined
      ? 'there is no run yet: ctrain train starts one'
      : `there is no run ${runId}: ctrain runs lists them`;
  throw new SecureTrainingError('CONFIG_INVALID', message);
}

async function diagnosed({ deployment }: Context, run: ListedRun, consoleFile?: string): Promise<Diagnosis> {
  const logs = deployment.emulator?.logs;
  const text =
    consoleFile === undefined
      ? await ownConsole(logs?.trainer)
      : new TextDecoder().decode(await readInput(consoleFile));
  return diagnose({
    run,
    console: text === undefined ? undefined : readConsole(text),
    events: await eventTail(logs?.trainer, run.request.runId)(),
    vault: await ownRows(logs?.vault),
    now: new Date(),
  });
}

/** The emulator keeps the console of its machine beside its logs. */
async function ownConsole(trainerLog: string | undefined): Promise<string | undefined> {
  if (trainerLog === undefined) return undefined;
  return readFile(join(dirname(trainerLog), '..', 'serial.log'), 'utf8').catch(() => undefined);
}

async function ownRows(file: string | undefined): Promise<readonly Row[]> {
  const bytes = file === undefined ? undefined : await readFile(file).catch(() => undefined);
  return bytes === undefined || file === undefined ? [] : parseRows(bytes, file);
}

function lines(runId: string, { what, evidence, todo }: Diagnosis): string[] {
  return [`${runId}: ${what}`, ...evidence.map((line) => `  ${line}`), `next: ${todo}`];
}
