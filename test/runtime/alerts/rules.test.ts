import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Row } from '../../../runtime/alerts/condition.ts';
import { type AlertRule, alertKql, evaluateAlert, type LogTable } from '../../../runtime/alerts/rule.ts';
import { ownerAlerts, platformAlerts } from '../../../runtime/alerts/rules.ts';
import { queryErrors } from './kusto.ts';

const TRAINER = '11111111-2222-3333-4444-555555555555';
const RULES = [
  ...ownerAlerts({ releaseTo: [TRAINER], networks: ['10.60.0.0/24'] }),
  ...platformAlerts({ flowLogs: true }),
];
const NOW = new Date('2026-11-24T12:00:00Z');
const RUNBOOK = readFileSync(join(import.meta.dirname, '../../../docs/runbook.md'), 'utf8');

/** A row of each table that nobody need be woken for, as Azure writes it. */
const USUAL: Readonly<Record<LogTable, Row>> = {
  AZKVAuditLogs: {
    OperationName: 'KeyRelease',
    HttpStatusCode: 200,
    CallerIpAddress: '10.60.0.4',
    Id: 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef',
    RequestUri: 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/release?api-version=7.4',
    Identity: { claim: { 'http://schemas.microsoft.com/identity/claims/objectidentifier': TRAINER } },
  },
  AzureAttestationDiagnostics: {
    OperationName: 'AttestSevSnpVm',
    ResultSignature: '200',
    CallerIpAddress: '10.60.0.4',
  },
  StorageBlobLogs: {
    OperationName: 'GetBlob',
    AuthenticationType: 'OAuth',
    StatusCode: '200',
    CallerIpAddress: '10.60.0.4:40012',
    RequesterObjectId: TRAINER,
  },
  AzureActivity: {
    OperationNameValue: 'MICROSOFT.COMPUTE/VIRTUALMACHINES/START/ACTION',
    ActivityStatusValue: 'Success',
    Caller: 'pipeline',
  },
  NTANetAnalytics: {
    SubType: 'FlowLog',
    FlowStatus: 'Allowed',
    FlowDirection: 'Outbound',
    SrcIp: '10.60.0.4',
    DestIp: '10.60.0.36',
    DestPort: 443,
  },
  TrainingSecurity: { RunId: 'r1', Machine: '/vm/1', Event: 'run.finished', Outcome: 'success', Detail: 'steps 418' },
  TrainingMetrics: { RunId: 'r1', Step: 1, Metric: 'loss', Value: 0.5 },
};

const unauthorised = { HttpStatusCode: 403, OperationName: 'KeyGet', RequestUri: '/keys/a' };
const failed = (Event: string) => ({ Event, Outcome: 'failure' });
const succeeded = (OperationNameValue: string) => ({ OperationNameValue });

/** For each rule: what fires it, and what is so close to it that a careless rule would fire too. */
const CASES: Readonly<Record<string, { fires: readonly Row[]; quiet: readonly Row[] }>> = {
  'release-unexpected': {
    fires: [{ Identity: { claim: {} } }, { CallerIpAddress: '10.60.1.4' }, { CallerIpAddress: 'nonsense' }],
    quiet: [
      { HttpStatusCode: 403, Identity: {} },
      { OperationName: 'KeyGet', RequestUri: '/keys/a', Identity: {} },
    ],
  },
  'release-refused': {
    fires: [{ HttpStatusCode: 403 }, { OperationName: 'Unknown', HttpStatusCode: 400 }],
    quiet: [{ HttpStatusCode: 200 }, unauthorised, { OperationName: 'Authentication', HttpStatusCode: 401 }],
  },
  'key-used-directly': {
    fires: [{ OperationName: 'KeyUnwrap' }, { OperationName: 'keydecrypt', HttpStatusCode: 403 }],
    quiet: [{ OperationName: 'KeyWrap' }],
  },
  'key-changed': {
    fires: [{ OperationName: 'KeyUpdate' }, { OperationName: 'KeyImport' }],
    quiet: [{ OperationName: 'KeyUpdate', HttpStatusCode: 403 }, { OperationName: 'KeyListVersions' }],
  },
  'vault-changed': { fires: [{ OperationName: 'VaultPatch' }], quiet: [{ OperationName: 'VaultGet' }] },
  'vault-denied': {
    fires: [unauthorised],
    quiet: [{ ...unauthorised, OperationName: 'Authentication', HttpStatusCode: 401 }],
  },
  'vault-throttled': { fires: [{ HttpStatusCode: 429 }], quiet: [{ HttpStatusCode: 503 }] },
  'attestation-policy-changed': {
    fires: [{ OperationName: 'SetCurrentPolicy' }],
    quiet: [{ OperationName: 'GetCurrentPolicy' }],
  },
  'attestation-rejected': { fires: [{ ResultSignature: '400' }], quiet: [{ ResultSignature: '' }] },
  'vault-settings-changed': {
    fires: [succeeded('MICROSOFT.KEYVAULT/VAULTS/WRITE'), succeeded('Microsoft.Insights/diagnosticSettings/delete')],
    quiet: [{ ...succeeded('Microsoft.KeyVault/vaults/write'), ActivityStatusValue: 'Failure' }],
  },
  'owner-role-granted': {
    fires: [succeeded('Microsoft.Authorization/roleAssignments/write')],
    quiet: [succeeded('Microsoft.Authorization/roleAssignments/read')],
  },
  'attestation-provider-changed': {
    fires: [succeeded('Microsoft.Attestation/attestationProviders/delete')],
    quiet: [succeeded('Microsoft.Attestation/attestationProviders/read')],
  },
  'machine-rejected': { fires: [failed('environment.verified')], quiet: [{ Event: 'environment.verified' }] },
  'trainer-not-attested': { fires: [failed('attestation.accepted')], quiet: [failed('environment.verified')] },
  'trainer-without-key': { fires: [failed('key.released')], quiet: [{ Event: 'key.released' }] },
  'data-refused': {
    fires: [failed('data.opened'), failed('object.opened'), failed('checkpoint.opened')],
    quiet: [failed('checkpoint.skipped'), { Event: 'object.opened' }],
  },
  'machine-unhygienic': {
    fires: [{ ...failed('run.refused'), Detail: 'hygiene core dumps are on' }],
    quiet: [{ ...failed('run.refused'), Detail: 'CONSENT_MISSING' }],
  },
  'run-refused': {
    fires: [{ ...failed('run.refused'), Detail: 'CONSENT_MISSING' }],
    quiet: [{ ...failed('run.refused'), Detail: 'hygiene core dumps are on' }],
  },
  'storage-without-identity': {
    fires: [{ AuthenticationType: 'SAS' }, { AuthenticationType: 'AccountKey' }, { AuthenticationType: '' }],
    quiet: [{ AuthenticationType: 'oauth' }],
  },
  'storage-denied': { fires: [{ StatusCode: '403' }], quiet: [{ StatusCode: '404' }] },
  'storage-throttled': { fires: [{ StatusCode: '503' }], quiet: [{ StatusCode: '500' }] },
  'storage-settings-changed': {
    fires: [succeeded('Microsoft.Storage/storageAccounts/listKeys/action')],
    quiet: [succeeded('Microsoft.Storage/storageAccounts/read')],
  },
  'network-changed': {
    fires: [succeeded('Microsoft.Network/networkSecurityGroups/securityRules/write')],
    quiet: [succeeded('Microsoft.Network/networkSecurityGroups/read')],
  },
  'platform-role-granted': {
    fires: [succeeded('Microsoft.Authorization/roleAssignments/write')],
    quiet: [succeeded('Microsoft.Authorization/roleAssignments/delete')],
  },
  'egress-denied': {
    fires: [{ FlowStatus: 'Denied' }],
    quiet: [{ FlowStatus: 'Denied', FlowDirection: 'Inbound' }],
  },
};

const at = (minutesAgo: number) => ({ TimeGenerated: new Date(NOW.getTime() - minutesAgo * 60_000).toISOString() });

function rowsFor(rule: AlertRule, change: Row, minutesAgo = 5): Row[] {
  const enough = rule.measure.kind === 'count' ? rule.measure.above + 1 : 1;
  return Array.from({ length: enough }, () => ({ ...USUAL[rule.table], ...change, ...at(minutesAgo) }));
}

describe.each(RULES.filter(({ measure }) => measure.kind === 'count').map((rule) => [rule.name, rule] as const))(
  '%s',
  (name, rule) => {
    const { fires = [], quiet = [] } = CASES[name] ?? {};

    test.each(fires.map((row) => [JSON.stringify(row), row] as const))('fires on %s', (_, row) => {
      expect(evaluateAlert(rule, rowsFor(rule, row), NOW)).toHaveLength(1);
    });

    test.each(quiet.map((row) => [JSON.stringify(row), row] as const))('is quiet on %s', (_, row) => {
      expect(evaluateAlert(rule, rowsFor(rule, row), NOW)).toEqual([]);
    });

    test('has both cases, is quiet on the usual, one row short, and once its window has passed', () => {
      const [row = {}] = fires;
      expect(Math.min(fires.length, quiet.length)).toBeGreaterThan(0);
      expect(evaluateAlert(rule, rowsFor(rule, {}), NOW)).toEqual([]);
      expect(evaluateAlert(rule, rowsFor(rule, row).slice(1), NOW)).toEqual([]);
      expect(evaluateAlert(rule, rowsFor(rule, row, rule.windowMinutes), NOW)).toEqual([]);
    });
  },
);

describe('run-silent', () => {
  const [rule] = RULES.filter(({ name }) => name === 'run-silent');
  if (rule === undefined) throw new Error('there is no such rule');
  const event = (Event: string, minutesAgo: number): Row => ({ ...USUAL.TrainingSecurity, Event, ...at(minutesAgo) });

  test.each([
    ['nothing for more than half an hour', [event('run.started', 40), event('checkpoint.sealed', 31)], 1],
    ['a checkpoint since', [event('run.started', 40), event('checkpoint.sealed', 29)], 0],
    ['it ended', [event('run.started', 40), event('run.finished', 35)], 0],
    ['it was refused', [event('run.started', 40), event('run.refused', 35)], 0],
    ['so long ago that somebody was told', [event('run.started', 250)], 0],
    ['no run', [], 0],
  ])('%s', (_, rows, alerts) => {
    expect(evaluateAlert(rule, rows, NOW)).toHaveLength(alerts);
  });

  test('says which run, and for how long', () => {
    const [alert] = evaluateAlert(rule, [event('run.started', 45)], NOW);
    expect(alert).toMatchObject({ dimensions: { RunId: 'r1', Machine: '/vm/1' }, value: 45 });
  });
});

test('each caller is an alert of its own, with first and last row', () => {
  const [rule] = RULES.filter(({ name }) => name === 'release-refused');
  if (rule === undefined) throw new Error('there is no such rule');
  const rows = [3, 9, 6].flatMap((minutes) => rowsFor(rule, { HttpStatusCode: 403 }, minutes));
  const other = rowsFor(rule, { HttpStatusCode: 403, CallerIpAddress: '10.60.0.9' });
  const alerts = evaluateAlert(rule, [...rows, ...other], NOW);
  expect(alerts.map(({ dimensions, value }) => [dimensions.Address, value])).toEqual([
    ['10.60.0.4', 3],
    ['10.60.0.9', 1],
  ]);
  expect(alerts[0]).toMatchObject({ from: new Date(at(9).TimeGenerated), to: new Date(at(3).TimeGenerated) });
});

test('the order of rows changes nothing, and no row can make evaluation fail', () => {
  const value = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.jsonValue());
  const columns = ['TimeGenerated', 'OperationName', 'HttpStatusCode', 'Identity', 'CallerIpAddress', '__proto__'];
  const strange = fc.dictionary(fc.constantFrom(...columns), value);
  const usual = fc.constantFrom(...Object.values(USUAL).map((row) => ({ ...row, HttpStatusCode: 403, ...at(5) })));
  fc.assert(
    fc.property(fc.array(fc.oneof(strange, usual), { maxLength: 20 }), (rows) => {
      for (const rule of RULES) {
        expect(evaluateAlert(rule, rows.toReversed(), NOW)).toEqual(evaluateAlert(rule, rows, NOW));
      }
    }),
    { numRuns: 50 },
  );
});

test.each(RULES.map((rule) => [rule.name, rule] as const))('%s is a query that Kusto takes', (_, rule) => {
  expect(queryErrors(alertKql(rule))).toEqual([]);
});

test('a column that is not there, and a text that tries to end its literal', () => {
  const [rule] = RULES;
  if (rule === undefined) throw new Error('there is no rule');
  const where = { column: 'HttpStatus', oneOf: ['403'] };
  expect(queryErrors(alertKql({ ...rule, where }))).toEqual([expect.stringContaining("'HttpStatus'")]);
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const kql = alertKql({ ...rule, where: { column: 'Id', contains: text } });
      expect(kql.split('\n')).toHaveLength(5);
      expect(queryErrors(kql)).toEqual([]);
    }),
    { numRuns: 100, examples: [['") or true or ("'], ['\\'], ['\\"'], ['\n| take 0'], ['\u2028']] },
  );
});

test('an owner who expects nobody is not told of every release', () => {
  expect(ownerAlerts({ releaseTo: [], networks: [] }).map(({ name }) => name)).not.toContain('release-unexpected');
});

test('every rule has its entry in the runbook, and every entry its rule', () => {
  const headings = [...RUNBOOK.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
  expect(headings).toEqual(RULES.map(({ name }) => name));
  const titles = [...RUNBOOK.matchAll(/^\*\*(.+)\.\*\* Severity (\d)\.$/gm)].map(([, title, severity]) => [
    title,
    Number(severity),
  ]);
  expect(titles).toEqual(RULES.map(({ title, severity }) => [title, severity]));
});
