import { gzipSync } from 'node:zlib';
import type { TokenCredential } from '@azure/core-auth';
import type { Deployment, TableName } from '../catalogue.ts';
import type { Network } from './network.ts';
import { request } from './request.ts';

/** Logs Ingestion API, data collection rules (https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview). */
const API_VERSION = '2023-01-01';
const SCOPE = 'https://monitor.azure.com/.default';

/** The service takes 1 MB a call, compressed or not; room is left for the brackets and commas. */
const MAXIMUM_BODY = 900_000;

/** Sends rows to a custom table, in as many calls as their size asks for. Rows are stored in the order given. */
export async function sendLogs(
  network: Network,
  credential: TokenCredential,
  logs: Deployment['logs'],
  table: TableName,
  rows: readonly object[],
  abortSignal?: AbortSignal,
): Promise<void> {
  for (const body of batches(rows)) {
    await request(network, {
      what: `logs to ${table}`,
      denied: 'CONFIG_INVALID',
      as: { credential, scope: SCOPE },
      method: 'POST',
      url: `${logs.endpoint}/dataCollectionRules/${logs.ruleId}/streams/Custom-${table}?api-version=${API_VERSION}`,
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: gzipSync(body),
      ...(abortSignal === undefined ? {} : { abortSignal }),
    });
  }
}

function* batches(rows: readonly object[]): Generator<string> {
  let batch: string[] = [];
  let size = 0;
  for (const row of rows) {
    const text = JSON.stringify(row);
    const length = Buffer.byteLength(text) + 1;
    if (batch.length > 0 && size + length > MAXIMUM_BODY) {
      yield `[${batch.join(',')}]`;
      batch = [];
      size = 0;
    }
    batch.push(text);
    size += length;
  }
  if (batch.length > 0) yield `[${batch.join(',')}]`;
}
