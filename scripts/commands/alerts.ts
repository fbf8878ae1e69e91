import { existsSync } from 'node:fs';
import { Command } from 'commander';
import type { Row } from '../../runtime/alerts/condition.ts';
import type { AlertRule, LogTable } from '../../runtime/alerts/rule.ts';
import { ownerAlerts, platformAlerts } from '../../runtime/alerts/rules.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { printable } from '../../runtime/shape.ts';
import { chooseDeployment } from '../context.ts';
import { count } from '../progress.ts';
import { parseRows } from '../run/access-rows.ts';
import { type AlertSpan, alertHistory } from '../run/alert-history.ts';
import { readInput } from '../run/read-input.ts';
import { timeOf } from '../run/time-of.ts';

const QUIET = 0;
const FIRING = 10;

interface AlertsFlags {
  readonly deployment?: string;
  readonly since?: string;
  readonly until?: string;
  readonly rows?: readonly string[];
  readonly json?: boolean;
}

export function alertsCommand(): Command {
  return new Command('alerts')
    .description('which of the deployed alerts fire, or would have fired, on the rows of a log')
    .option(
      '--since <time>',
      'from here on: 24h, 7d, 90m or 2026-01-31T00:00:00Z (default: only what fires at the end)',
    )
    .option('--until <time>', 'up to here, said in the same way (default: now)')
    .option('--rows <table=file...>', 'exported rows of a table: JSON, JSON Lines or CSV (emulator: its own logs)')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain alerts
  $ ctrain alerts --since 24h --json
  $ ctrain alerts --deployment deployment.json --since 7d --rows AZKVAuditLogs=vault.json StorageBlobLogs=storage.json

Azure evaluates the same rules itself and tells the action group; this is for rehearsing on the emulator, and for asking what a
rule would have made of last month. Each alert names its entry in docs/runbook.md.
Exit codes: ${QUIET} none, ${FIRING} at least one.`,
    )
    .action(async (flags: AlertsFlags) => {
      const now = new Date();
      const to = new Date(timeOf(flags.until, '--until', now) ?? now);
      const from = new Date(timeOf(flags.since, '--since', now) ?? to);
      const { deployment } = await chooseDeployment(flags.deployment, console.error);
      if (deployment === undefined) throw notStarted();
      const tables = await readTables(deployment, flags.rows);
      const rules = rulesFor(deployment).filter(({ table }) => tables.has(table));
      const alerts = alertHistory(rules, (table) => tables.get(table) ?? [], from, to);
      if (flags.json === true) console.log(JSON.stringify({ alerts: alerts.map(asJson), rules: rules.length }));
      else {
        for (const line of alerts.flatMap(linesOf)) console.log(line);
        console.log(`${count(alerts.length)} alerts, of ${rules.length} rules on ${[...tables.keys()].join(', ')}`);
      }
      process.exitCode = alerts.length > 0 ? FIRING : QUIET;
    });
}

/** The rules as they are deployed; the addresses that machines have are known to Azure alone. */
function rulesFor({ trainer }: Deployment): readonly AlertRule[] {
  const releaseTo = [trainer.identityPrincipalId];
  return [...ownerAlerts({ releaseTo, networks: [] }), ...platformAlerts({ flowLogs: true })];
}

async function readTables(
  deployment: Deployment,
  given: readonly string[] | undefined,
): Promise<ReadonlyMap<LogTable, readonly Row[]>> {
  const { emulator } = deployment;
  const known = new Set<string>(rulesFor(deployment).map(({ table }) => table));
  const named = (given ?? []).map((text) => {
    const [table = '', ...file] = text.split('=');
    if (known.has(table) && file.length > 0) return [table as LogTable, file.join('=')] as const;
    const wanted = [...known].map((name) => `${name}=FILE`).join(', ');
    throw new SecureTrainingError('CONFIG_INVALID', `--rows ${text}: wanted one of ${wanted}`);
  });
  const own: readonly (readonly [LogTable, string])[] =
    emulator === undefined
      ? []
      : [
          ['TrainingSecurity', emulator.logs.trainer],
          ['AZKVAuditLogs', emulator.logs.vault],
          ['StorageBlobLogs', emulator.logs.storage],
        ];
  const files = named.length > 0 ? named : own;
  if (files.length === 0) {
    throw new SecureTrainingError('CONFIG_INVALID', 'wanted --rows TABLE=FILE: see ctrain help alerts');
  }
  const tables = new Map<LogTable, readonly Row[]>();
  for (const [table, file] of files) {
    // Of the emulator's own logs one that is not there yet has no rows.
    const rows = named.length === 0 && !existsSync(file) ? [] : timedRows(parseRows(await readInput(file), file), file);
    tables.set(table, [...(tables.get(table) ?? []), ...rows]);
  }
  return tables;
}

/** A row without its time is in no window: told, for a rule that sees nothing looks like peace. */
function timedRows(rows: readonly Row[], file: string): readonly Row[] {
  const index = rows.findIndex(({ TimeGenerated }) => Number.isNaN(Date.parse(String(TimeGenerated))));
  if (index < 0) return rows;
  throw new SecureTrainingError('CONFIG_INVALID', `${file}: row ${index + 1} has no TimeGenerated that is a time`);
}

function asJson({ rule, firedAt, isFiring, dimensions, value, from, to }: AlertSpan) {
  const { name, title, severity } = rule;
  return {
    alert: name,
    title,
    severity,
    firedAt,
    isFiring,
    dimensions,
    value,
    from,
    to,
    runbook: `docs/runbook.md#${name}`,
  };
}

function linesOf({ rule, firedAt, isFiring, dimensions, value, from, to }: AlertSpan): string[] {
  const about = Object.entries(dimensions).map(([name, text]) => `${name}=${text === '' ? '-' : printable(text)}`);
  const unit = rule.measure.kind === 'silence' ? 'minutes' : 'rows';
  return [
    `severity ${rule.severity}  ${rule.title}`,
    `  ${isFiring ? 'firing' : 'fired'} at ${firedAt.toISOString()}, ${count(value)} ${unit}, ${from.toISOString()} to ${to.toISOString()}`,
    `  ${about.join('  ')}`,
    `  docs/runbook.md#${rule.name}`,
  ];
}

function notStarted(): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', 'no emulator runs here, and no --deployment was given');
}
