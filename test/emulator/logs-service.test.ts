import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { logsService } from '../../emulator/logs-service.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { sendLogs } from '../../runtime/azure/log-ingestion.ts';
import { OPERATOR, SmallAzure, STRANGER } from './small-azure.ts';

const HOST = 'dce.westeurope-1.ingest.monitor.azure.com';
const logs = { endpoint: `https://${HOST}`, ruleId: 'dcr-1' };
const row = { TimeGenerated: '2026-01-01T00:00:00Z', RunId: 'r', Step: 1, Metric: 'loss', Value: 0.5 };
const azure = new SmallAzure([HOST]);
const operator = managedIdentity(azure.network, OPERATOR.clientId);
const directory = mkdtempSync(join(tmpdir(), 'ctrain-logs-test-'));

beforeAll(async () => {
  await azure.addMetadata();
  const handler = logsService({ ...azure, ruleId: 'dcr-1', ruleResourceId: '/subscriptions/s/dcr', directory });
  await azure.add({ service: 'logs', hosts: [HOST], handler });
});
afterAll(async () => {
  await azure.stop();
  rmSync(directory, { recursive: true });
});

function stored(): unknown[] {
  const text = readFileSync(join(directory, 'Custom-TrainingMetrics.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

test('rows arrive in their order, in as many calls as the service’s limit asks for', async () => {
  const rows = Array.from({ length: 12_000 }, (_, Step) => ({ ...row, Step }));
  const before = azure.requests.length;
  await sendLogs(azure.network, operator, logs, 'TrainingMetrics', rows);
  expect(azure.requests.slice(before).filter(({ service }) => service === 'logs').length).toBeGreaterThan(1);
  expect(stored()).toEqual(rows);
});

test('no rows are no call', async () => {
  const before = azure.requests.length;
  await sendLogs(azure.network, operator, logs, 'TrainingMetrics', []);
  expect(azure.requests).toHaveLength(before);
});

test.each([
  ['an unknown column', { ...row, Extra: 1 }, 'row 0: the table has no column Extra'],
  ['a value of another type', { ...row, Step: 'one' }, 'row 0: Step is no long'],
  ['a date that is none', { ...row, TimeGenerated: 'soon' }, 'row 0: TimeGenerated is no datetime'],
])('%s is refused', async (_name, wrong, reason) => {
  await expect(sendLogs(azure.network, operator, logs, 'TrainingMetrics', [wrong])).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `logs to TrainingMetrics: status 400, InvalidPayload, ${reason}`,
  });
});

test('another rule and a caller without the role are refused', async () => {
  const other = { ...logs, ruleId: 'dcr-2' };
  await expect(sendLogs(azure.network, operator, other, 'TrainingMetrics', [row])).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  });
  const stranger = managedIdentity(azure.network, STRANGER.clientId);
  await expect(sendLogs(azure.network, stranger, logs, 'TrainingMetrics', [row])).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('status 403'),
  });
});
