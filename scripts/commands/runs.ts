import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { type ListedRun, listRuns, type RunStatus } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { CARD_FILE, type ModelCard, readModelCard } from '../model/card-file.ts';
import { count } from '../progress.ts';
import { compareRuns, comparisonLines } from '../run/compare-runs.ts';
import { type RunRecord, readCards, readRunRecord, recordOfCard } from '../run/run-record.ts';
import { progressText, runStore } from '../run/submit.ts';

interface RunsFlags {
  readonly compare?: readonly string[];
  readonly modelsDir: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function runsCommand(): Command {
  return new Command('runs')
    .description('list the runs there are and how far each one is, or compare two')
    .option(
      '--compare <run...>',
      'two runs, by id or by the folder of an opened model: configuration, metrics, duration',
    )
    .option('-m, --models-dir <folder>', 'opened models, whose runs are listed too wherever they ran', 'models')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExamples:\n  $ ctrain runs --json\n  $ ctrain runs --compare run-20261123-201500-1a2b3c models/run-20261124-090000-4d5e6f',
    )
    .action(async (flags: RunsFlags, command: Command) => {
      const { compare } = flags;
      if (compare === undefined) return list(flags);
      const [a, b, ...more] = compare;
      if (a === undefined || b === undefined || more.length > 0)
        command.error(`error: --compare wants two runs, found ${compare.length}`);
      else await showComparison(a, b, flags);
    });
}

async function list({ modelsDir, json, deployment }: RunsFlags): Promise<void> {
  const context = await openContext(deployment, console.error);
  try {
    const runs = await listRuns(runStore(context));
    const known = new Set(runs.map(({ request }) => request.runId));
    const elsewhere = (await readCards(modelsDir)).filter(({ runId }) => !known.has(runId));
    if (json === true) {
      console.log(JSON.stringify([...runs, ...elsewhere.map((card) => ({ card }))]));
      return;
    }
    if (runs.length + elsewhere.length === 0) console.log('no runs yet');
    for (const run of runs) console.log(queuedLine(run));
    for (const card of elsewhere) console.log(cardLine(card));
  } finally {
    await context.close();
  }
}

async function showComparison(first: string, second: string, flags: RunsFlags): Promise<void> {
  const [a, b] = [await findCard(first, flags.modelsDir), await findCard(second, flags.modelsDir)];
  const records = a !== undefined && b !== undefined ? [a, b] : await fromDeployment([a ?? first, b ?? second], flags);
  const [left, right] = records;
  if (left === undefined || right === undefined) throw new RangeError('a run was not read');
  const comparison = compareRuns(left, right);
  if (flags.json === true) console.log(JSON.stringify(comparison));
  else for (const line of comparisonLines(comparison)) console.log(line);
}

/** A run whose model was opened needs no deployment. */
async function findCard(run: string, modelsDir: string): Promise<RunRecord | undefined> {
  for (const folder of [run, join(modelsDir, run)]) {
    const isThere = await access(join(folder, CARD_FILE)).then(
      () => true,
      () => false,
    );
    if (isThere) return recordOfCard(await readModelCard(folder));
  }
  return undefined;
}

async function fromDeployment(runs: readonly (RunRecord | string)[], flags: RunsFlags): Promise<RunRecord[]> {
  const context = await openContext(flags.deployment, console.error);
  try {
    const kind = context.deployment.kind === 'emulator' ? 'emulated' : 'azure';
    const records: RunRecord[] = [];
    for (const run of runs)
      records.push(typeof run === 'string' ? await readRunRecord(runStore(context), run, kind) : run);
    return records;
  } finally {
    await context.close();
  }
}

function queuedLine({ request, status }: ListedRun): string {
  return `${request.runId}  ${(status?.state ?? 'queued').padEnd(11)} ${describe(status)}`;
}

function cardLine({ runId, kind, finishedOn }: ModelCard): string {
  return `${runId}  ${'finished'.padEnd(11)} ${kind}, not in this deployment, ${finishedOn}`;
}

function describe(status: RunStatus | undefined): string {
  if (status === undefined) return '';
  if (status.message !== undefined) return status.message;
  if (status.state === 'finished') return `${count(status.progress?.steps ?? 0)} steps, ${status.updatedAt}`;
  return status.progress === undefined ? status.step : progressText(status.progress);
}
