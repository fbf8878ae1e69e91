import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { machineState } from '../../runtime/azure/resource-manager.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { isOpen, listRuns } from '../../runtime/queue.ts';
import { parseConsoleLine } from '../../runtime/run-steps.ts';
import type { Context } from '../context.ts';
import { CARD_FILE } from '../model/card-file.ts';
import { parseRows, type Row, storageRows, trainerRows, vaultRows } from '../run/access-rows.ts';
import { readInput } from '../run/read-input.ts';
import { newestRun, runStore } from '../run/submit.ts';
import type { Facts, NumberedLine } from './facts.ts';

/** Files that somebody exported; the emulator's own where none is named. */
export interface DiagnoseFiles {
  readonly console?: string;
  readonly trainer?: string;
  readonly vault?: string;
  readonly storage?: string;
  readonly attestation?: string;
  readonly activity?: string;
}

/**
 * Asks everybody about a run, the newest when none is named. What cannot be asked is left out: a diagnosis is for when things
 * are broken.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such run, or for a named file that is not what it should be
 */
export async function gatherFacts(
  context: Context,
  runId: string | undefined,
  files: DiagnoseFiles,
  modelsDir: string,
  now: Date,
): Promise<Facts> {
  const runs = await listRuns(runStore(context));
  const found = runId === undefined ? newestRun(runs) : runs.find(({ request }) => request.runId === runId);
  if (found === undefined) {
    const message =
      runId === undefined
        ? 'there is no run yet: ctrain train starts one'
        : `there is no run ${runId}: ctrain runs lists them`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  const { request, status } = found;
  const ahead = runs.slice(0, runs.indexOf(found)).filter((each) => isOpen(each.status));
  const { emulator } = context.deployment;
  const own = emulator?.logs;
  const machine = await currentState(context);
  const lines = await consoleLines(files.console, emulator?.serialFile);
  const trainer = await rowsOf(files.trainer, own?.trainer);
  const vault = await rowsOf(files.vault, own?.vault);
  const storage = await rowsOf(files.storage, own?.storage);
  const attestation = await rowsOf(files.attestation, undefined);
  const activity = await rowsOf(files.activity, undefined);
  return {
    now,
    request,
    ...(status === undefined ? {} : { status }),
    ...(machine === undefined ? {} : { machine }),
    ahead: ahead.map((each) => each.request.runId),
    fetched: await isThere(join(modelsDir, request.runId, CARD_FILE)),
    ...(lines === undefined ? {} : { console: lines }),
    ...(trainer === undefined ? {} : { trainer: trainerRows(trainer, "the trainer's log") }),
    ...(vault === undefined ? {} : { vault: vaultRows(vault, "the vault's log") }),
    ...(storage === undefined ? {} : { storage: storageRows(storage, "the storage's log") }),
    ...(attestation === undefined ? {} : { attestation }),
    ...(activity === undefined ? {} : { activity }),
  };
}

async function currentState({ network, credential, deployment }: Context): Promise<Facts['machine']> {
  const [vmId] = deployment.trainer.vmIds;
  return vmId === undefined ? undefined : machineState(network, credential, vmId).catch(() => undefined);
}

async function consoleLines(named: string | undefined, own: string | undefined): Promise<NumberedLine[] | undefined> {
  if (named !== undefined) return readConsole(new TextDecoder().decode(await readInput(named)));
  const text = own === undefined ? undefined : await readFile(own, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : readConsole(text);
}

/** The lines of ours in a console's text, whatever else it holds. */
export function readConsole(text: string): NumberedLine[] {
  return text.split('\n').flatMap((each, index) => {
    const line = parseConsoleLine(each);
    return line === undefined ? [] : [{ number: index + 1, line }];
  });
}

async function rowsOf(named: string | undefined, own: string | undefined): Promise<Row[] | undefined> {
  if (named !== undefined) return parseRows(await readInput(named), named);
  if (own === undefined || !(await isThere(own))) return undefined;
  return parseRows(await readInput(own), own);
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
