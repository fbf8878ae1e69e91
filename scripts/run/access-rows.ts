import Papa from 'papaparse';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import { parseJson } from '../../runtime/shape.ts';

/** A row of table `AZKVAuditLogs`, as far as it is looked at. */
export interface VaultRow {
  /** RFC 3339 in UTC, milliseconds. */
  readonly at: string;
  readonly operation: string;
  /** Versioned key id where the log has one. */
  readonly keyId: string;
  readonly uri: string;
  /** Object id of whoever asked; '' where the log names nobody. */
  readonly principal: string;
  readonly address: string;
  /** HTTP status; 0 where the log has none. */
  readonly status: number;
  readonly correlationId: string;
}

/** A row of table `StorageBlobLogs`, as far as it is looked at. */
export interface StorageRow {
  readonly at: string;
  readonly operation: string;
  readonly authentication: string;
  readonly principal: string;
  readonly address: string;
  readonly uri: string;
  readonly status: number;
}

/** A row by column, before anything of it was looked at. */
export type Row = Readonly<Record<string, unknown>>;

/** Claims of a caller's token that name it, first that is there (resource-specific rows differ in them). */
const OBJECT_ID = ['http://schemas.microsoft.com/identity/claims/objectidentifier', 'oid', 'appid'] as const;

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the row */
export function vaultRows(rows: readonly Row[], what: string): VaultRow[] {
  return rows.map((row, index) => {
    const wanted = wantedOf(row, `${what}: row ${index + 1}`);
    return {
      at: wanted.time(),
      operation: wanted.text('OperationName'),
      keyId: textOf(row.Id),
      uri: textOf(row.RequestUri),
      principal: callerOf(row.Identity).toLowerCase(),
      address: textOf(row.CallerIpAddress),
      status: wanted.status('HttpStatusCode'),
      correlationId: textOf(row.CorrelationId),
    };
  });
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the row */
export function storageRows(rows: readonly Row[], what: string): StorageRow[] {
  return rows.map((row, index) => {
    const wanted = wantedOf(row, `${what}: row ${index + 1}`);
    return {
      at: wanted.time(),
      operation: wanted.text('OperationName'),
      authentication: wanted.text('AuthenticationType'),
      principal: textOf(row.RequesterObjectId).toLowerCase(),
      address: textOf(row.CallerIpAddress),
      uri: wanted.text('Uri'),
      status: wanted.status('StatusCode'),
    };
  });
}

/** Rows of table `TrainingSecurity_CL`. @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the row */
export function trainerRows(rows: readonly Row[], what: string): SecurityEvent[] {
  return rows.map((row, index) => {
    const wanted = wantedOf(row, `${what}: row ${index + 1}`);
    return {
      TimeGenerated: wanted.time(),
      RunId: textOf(row.RunId),
      Machine: textOf(row.Machine),
      Agreement: textOf(row.Agreement),
      // A name that this version does not know is still a link of its chain.
      Event: wanted.text('Event') as SecurityEvent['Event'],
      Outcome: wanted.text('Outcome') === 'success' ? 'success' : 'failure',
      Detail: textOf(row.Detail),
      KeyId: textOf(row.KeyId),
      Manifest: textOf(row.Manifest),
      Head: wanted.text('Head'),
    };
  });
}

/**
 * Rows of an exported table: a JSON array (`az monitor log-analytics query -o json`), one JSON object a line, or CSV with a
 * line of column names (the portal's export, times in UTC).
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the log
 */
export function parseRows(bytes: Uint8Array, what: string): Row[] {
  const text = decode(bytes, what);
  const [first = ''] = text.trimStart();
  if (first === '') return [];
  const rows =
    first === '['
      ? parseJson(bytes, what, 'CONFIG_INVALID')
      : first === '{'
        ? linesOf(text).map(([line, number]) => parseJson(line, `${what}: line ${number}`, 'CONFIG_INVALID'))
        : csvRows(text, what);
  if (Array.isArray(rows) && rows.every((row) => typeof row === 'object' && row !== null && !Array.isArray(row)))
    return rows as Row[];
  throw new SecureTrainingError('CONFIG_INVALID', `${what}: wanted a list of rows, found something else in it`);
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SecureTrainingError('CONFIG_INVALID', `${what} is not text in UTF-8`);
  }
}

function linesOf(text: string): [Uint8Array, number][] {
  return text
    .split('\n')
    .flatMap((line, index) => (line.trim() === '' ? [] : [[new TextEncoder().encode(line), index + 1] as const]))
    .map(([line, number]) => [line, number]);
}

function csvRows(text: string, what: string): unknown[] {
  const { data, errors } = Papa.parse<Record<string, string>>(text, {
    header: true,
    delimiter: ',',
    skipEmptyLines: true,
    // The portal writes the time zone of a column into its name.
    transformHeader: (name) => name.trim().replace(/ \[UTC\]$/, ''),
  });
  const [error] = errors;
  if (error === undefined) return data;
  throw new SecureTrainingError('CONFIG_INVALID', `${what}: row ${(error.row ?? 0) + 1}: ${error.message}`);
}

/** Columns that a row of its table cannot be without: an export of another table must not pass as one where nothing happened. */
function wantedOf(row: Row, where: string) {
  const fail = (column: string, wanted: string): never => {
    throw new SecureTrainingError('CONFIG_INVALID', `${where}: wanted ${wanted} as ${column}`);
  };
  return {
    text: (column: string): string => textOf(row[column]) || fail(column, 'a text'),
    /** Every time in one form, so that they compare as texts do. */
    time: (): string => {
      const found = textOf(row.TimeGenerated);
      const at = new Date(/^\d{4}-.*(Z|[+-]\d\d:?\d\d)$/.test(found) ? found : `${found} UTC`);
      return Number.isNaN(at.getTime()) ? fail('TimeGenerated', 'a time in UTC') : at.toISOString();
    },
    status: (column: string): number => {
      const given = row[column] ?? 0;
      // A cell may be anything that JSON is, an object that has no number too.
      const status = typeof given === 'object' ? Number.NaN : Number(given);
      return Number.isSafeInteger(status) && status >= 0 && status < 1000 ? status : fail(column, 'an HTTP status');
    },
  };
}

/** A dynamic column is an object in the service and a text of JSON in what some tools export. */
function callerOf(identity: unknown): string {
  try {
    const value = (typeof identity === 'string' ? JSON.parse(identity) : identity) as { claim?: Row } | null;
    const name = OBJECT_ID.find((claim) => typeof value?.claim?.[claim] === 'string');
    return name === undefined ? '' : textOf(value?.claim?.[name]);
  } catch {
    return '';
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value);
}
