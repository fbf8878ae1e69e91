import { Command } from 'commander';
import type { Deployment } from '../../runtime/catalogue.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type ChosenDeployment, chooseDeployment } from '../context.ts';
import { count } from '../progress.ts';
import { type AccessEntry, joinAccessLogs } from '../run/access-log.ts';
import {
  type Explanations,
  explanationsInFolder,
  explanationsInStore,
  exportedAt,
  type LogFiles,
  readLogs,
} from '../run/access-sources.ts';
import { accessTable } from '../run/access-table.ts';
import { timeOf } from '../run/time-of.ts';

const EXPLAINED = 0;
const UNEXPLAINED = 10;

/** Azure Monitor promises no time; resource logs usually arrive within three minutes, the vault's at most after ten. */
const INGESTION_MS = 15 * 60_000;

interface AccessLogFlags {
  readonly deployment?: string;
  readonly since?: string;
  readonly until?: string;
  readonly agreements?: string;
  readonly trainerLog?: string;
  readonly vaultLog?: string;
  readonly storageLog?: string;
  readonly owner?: readonly string[];
  readonly known?: readonly string[];
  readonly unexplained?: boolean;
  readonly json?: boolean;
}

export function accessLogCommand(): Command {
  return new Command('access-log')
    .description('who opened, asked for or changed what, and which run explains it; flags what none does')
    .option('--since <time>', 'from here on: 24h, 7d, 90m or 2026-01-31T00:00:00Z (default: all there is)')
    .option('--until <time>', 'up to here, said in the same way')
    .option('--agreements <folder>', 'signed agreements and rotation records (default: those in the store)')
    .option('--trainer-log <file>', 'rows of TrainingSecurity_CL: JSON, JSON Lines or CSV (emulator: its own)')
    .option('--vault-log <file>', 'rows of AZKVAuditLogs (emulator: its own)')
    .option('--storage-log <file>', 'rows of StorageBlobLogs (emulator: its own)')
    .option('--owner <ids...>', "object ids that data owners act under (emulator: its operator's)")
    .option('--known <ids...>', 'object ids that may read and write sealed data')
    .option('--unexplained', 'only what nothing explains')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain access-log
  $ ctrain access-log --since 24h --unexplained
  $ ctrain access-log --deployment deployment.json --agreements agreements --trainer-log trainer.json --vault-log vault.json --storage-log storage.json

On Azure, export the rows first, of whole runs (az monitor log-analytics query -w WORKSPACE -o json --analytics-query ...):
  TrainingSecurity_CL | where TimeGenerated > ago(30d)
    | project TimeGenerated, RunId, Machine, Agreement, Event, Outcome, Detail, KeyId, Manifest, Head
  AZKVAuditLogs | where TimeGenerated > ago(30d) and _ResourceId endswith "/vaults/VAULT"
    | project TimeGenerated, OperationName, Id, RequestUri, Identity, CallerIpAddress, HttpStatusCode, CorrelationId
  StorageBlobLogs | where TimeGenerated > ago(30d) and _ResourceId contains "/storageAccounts/ACCOUNT"
    | project TimeGenerated, OperationName, AuthenticationType, RequesterObjectId, CallerIpAddress, Uri, StatusCode

Rows of the last ${INGESTION_MS / 60_000} minutes before an export may have no counterpart yet: told, not flagged.
Exit codes: ${EXPLAINED} everything is explained, ${UNEXPLAINED} something is not.`,
    )
    .action(async (flags: AccessLogFlags) => {
      const from = timeOf(flags.since, '--since', new Date());
      const to = timeOf(flags.until, '--until', new Date());
      const { all, trainerPrincipal } = await joined(flags);
      const entries = all.filter(({ at }) => (from === undefined || at >= from) && (to === undefined || at <= to));
      const unexplained = entries.filter(({ flag }) => flag !== undefined);
      const pending = entries.filter((entry) => entry.pending !== undefined);
      const shown = flags.unexplained === true ? entries.filter((each) => isOpen(each)) : entries;
      if (flags.json === true) console.log(JSON.stringify({ entries: shown, unexplained: unexplained.length }));
      else {
        if (shown.length > 0) for (const line of accessTable(shown, trainerPrincipal)) console.log(line);
        console.log(`${count(entries.length)} accesses, ${count(unexplained.length)} unexplained`);
        if (pending.length > 0) console.log(`${count(pending.length)} too young to tell: export again later`);
      }
      process.exitCode = unexplained.length > 0 ? UNEXPLAINED : EXPLAINED;
    });
}

async function joined(flags: AccessLogFlags): Promise<{ all: readonly AccessEntry[]; trainerPrincipal: string }> {
  const chosen = await chooseDeployment(flags.deployment, console.error);
  const exported = filesOf(flags);
  const { deployment, explanations } = await explanationsFor(chosen, flags.agreements);
  const files = exported ?? deployment.emulator?.logs;
  if (files === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      deployment.kind === 'azure'
        ? 'wanted --trainer-log, --vault-log and --storage-log: see ctrain help access-log'
        : 'the deployment names no logs: start the emulator again',
    );
  }
  const isLive = exported === undefined;
  const operators = deployment.emulator === undefined ? [] : [deployment.emulator.operatorPrincipalId];
  const trainerPrincipal = deployment.trainer.identityPrincipalId.toLowerCase();
  const all = joinAccessLogs({
    ...(await readLogs(files, isLive)),
    ...explanations,
    vaultHost: deployment.owner.vaultHost,
    trainerPrincipal,
    owners: [...(flags.owner ?? []).map((id) => id.toLowerCase()), ...(isLive ? operators : [])],
    known: (flags.known ?? []).map((id) => id.toLowerCase()),
    dataKeys: [...deployment.owner.keyNames, ...explanations.keyNames],
    ...(isLive ? {} : { completeUntil: new Date((await exportedAt(files)).getTime() - INGESTION_MS) }),
  });
  return { all, trainerPrincipal };
}

function filesOf({ trainerLog: trainer, vaultLog: vault, storageLog: storage }: AccessLogFlags): LogFiles | undefined {
  if (trainer !== undefined && vault !== undefined && storage !== undefined) return { trainer, vault, storage };
  if (trainer === undefined && vault === undefined && storage === undefined) return undefined;
  throw new SecureTrainingError('CONFIG_INVALID', '--trainer-log, --vault-log and --storage-log go together');
}

async function explanationsFor(
  chosen: ChosenDeployment,
  folder: string | undefined,
): Promise<{ deployment: Deployment; explanations: Explanations }> {
  if (folder !== undefined && chosen.deployment !== undefined)
    return { deployment: chosen.deployment, explanations: await explanationsInFolder(folder) };
  const context = await chosen.open();
  try {
    const explanations = folder === undefined ? await explanationsInStore(context) : await explanationsInFolder(folder);
    return { deployment: context.deployment, explanations };
  } finally {
    await context.close();
  }
}

function isOpen({ flag, pending }: AccessEntry): boolean {
  return flag !== undefined || pending !== undefined;
}
