import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { parseRows, type Row, storageRows, trainerRows, vaultRows } from '../../../scripts/run/access-rows.ts';

const OID = 'http://schemas.microsoft.com/identity/claims/objectidentifier';
const VAULT = {
  TimeGenerated: '2026-11-24T03:12:34.5Z',
  OperationName: 'KeyRelease',
  Id: 'https://kv/keys/k/1',
  RequestUri: 'https://kv/keys/k/1/release?api-version=7.4',
  Identity: { claim: { [OID]: 'somebody' } },
  CallerIpAddress: '10.0.0.1',
  HttpStatusCode: 200,
  CorrelationId: 'c',
};
const STORAGE = {
  TimeGenerated: '2026-11-24T03:12:34Z',
  OperationName: 'GetBlob',
  AuthenticationType: 'OAuth',
  RequesterObjectId: 'somebody',
  CallerIpAddress: '10.0.0.1:4711',
  Uri: 'https://st/datasets/o/d/1/train-00000.enc',
  StatusCode: '206',
};
const TRAINER = {
  TimeGenerated: '2026-11-24T03:12:34Z',
  RunId: 'run-1',
  Machine: '/vm',
  Agreement: 'a',
  Event: 'key.released',
  Outcome: 'success',
  Detail: '',
  KeyId: 'k',
  Manifest: 'm',
  Head: 'h',
};
const invalid = (message: string) => expect.objectContaining({ code: 'CONFIG_INVALID', message });

test('a good row of each table', () => {
  expect(vaultRows([VAULT], 'log')).toEqual([
    {
      at: '2026-11-24T03:12:34.500Z',
      operation: 'KeyRelease',
      keyId: VAULT.Id,
      uri: VAULT.RequestUri,
      principal: 'somebody',
      address: '10.0.0.1',
      status: 200,
      correlationId: 'c',
    },
  ]);
  expect(storageRows([STORAGE], 'log')[0]).toMatchObject({ operation: 'GetBlob', principal: 'somebody', status: 206 });
  expect(trainerRows([TRAINER], 'log')).toEqual([{ ...TRAINER, TimeGenerated: '2026-11-24T03:12:34.000Z' }]);
});

test.each<[string, unknown, string]>([
  ['by its object id', { claim: { [OID]: 'a', appid: 'b' } }, 'a'],
  ['by oid', { claim: { oid: 'A', appid: 'b' } }, 'a'],
  ['by its application', { claim: { appid: 'b' } }, 'b'],
  ['as text of JSON', JSON.stringify({ claim: { [OID]: 'a' } }), 'a'],
  ['nowhere', {}, ''],
  ['in no JSON', '{', ''],
  ['absent', undefined, ''],
])('a caller named %s', (_, Identity, principal) => {
  expect(vaultRows([{ ...VAULT, Identity }], 'log')[0]?.principal).toBe(principal);
});

test.each<[string, (rows: readonly Row[], what: string) => unknown, Row, Row, string]>([
  ['no time', vaultRows, VAULT, { TimeGenerated: undefined }, 'a time in UTC as TimeGenerated'],
  ['a time that is none', storageRows, STORAGE, { TimeGenerated: 'soon' }, 'a time in UTC as TimeGenerated'],
  ['a vault row of no operation', vaultRows, VAULT, { OperationName: '' }, 'a text as OperationName'],
  ['a status that is none', vaultRows, VAULT, { HttpStatusCode: 'fine' }, 'an HTTP status as HttpStatusCode'],
  [
    'a status that has no number',
    vaultRows,
    VAULT,
    { HttpStatusCode: { toString: 1, valueOf: 1 } },
    'an HTTP status as HttpStatusCode',
  ],
  ['a negative status', storageRows, STORAGE, { StatusCode: -1 }, 'an HTTP status as StatusCode'],
  ['a storage row of no operation', storageRows, STORAGE, { OperationName: null }, 'a text as OperationName'],
  [
    'a storage row of no authentication',
    storageRows,
    STORAGE,
    { AuthenticationType: '' },
    'a text as AuthenticationType',
  ],
  ['a storage row about nothing', storageRows, STORAGE, { Uri: undefined }, 'a text as Uri'],
  ['an event without a name', trainerRows, TRAINER, { Event: '' }, 'a text as Event'],
  ['an event without an outcome', trainerRows, TRAINER, { Outcome: undefined }, 'a text as Outcome'],
  ['an event without a head', trainerRows, TRAINER, { Head: '' }, 'a text as Head'],
  ['rows of another table', storageRows, VAULT, {}, 'a text as AuthenticationType'],
])('%s is refused, naming the row', (_, read, good, change, wanted) => {
  expect(() =>
    read([good, { ...good, ...change }].slice(good === VAULT && read === storageRows ? 1 : 0), 'log'),
  ).toThrow(invalid(`log: row ${good === VAULT && read === storageRows ? 1 : 2}: wanted ${wanted}`));
});

const lines = [{ a: 'one' }, { a: 'two, "three"' }];

test.each([
  ['a JSON array', JSON.stringify(lines)],
  ['one object a line', `${lines.map((line) => JSON.stringify(line)).join('\n')}\n\n`],
  ['CSV', 'a\r\none\r\n"two, ""three"""\r\n'],
])('%s', (_, text) => {
  expect(parseRows(utf8(text), 'log')).toEqual(lines);
});

test("the portal's CSV: time zone in the column's name, dates as Americans write them", () => {
  const csv = 'TimeGenerated [UTC],OperationName,HttpStatusCode\n"11/24/2026, 3:12:34.123 AM",KeyGet,200\n';
  expect(vaultRows(parseRows(utf8(csv), 'log'), 'log')[0]).toMatchObject({
    at: '2026-11-24T03:12:34.123Z',
    operation: 'KeyGet',
  });
});

test('a log of nothing has no rows', () => {
  expect(parseRows(utf8(' \n'), 'log')).toEqual([]);
});

test.each([
  ['an array of other things', '[1]', 'log: wanted a list of rows, found something else in it'],
  ['an array cut short', '[{}', 'log is not JSON'],
  ['a line cut short', '{"a":1}\n{"a"', 'log: line 2 is not JSON'],
  ['CSV with a cell too many', 'a,b\n1,2\n1,2,3', 'log: row 2: Too many fields: expected 2 fields but parsed 3'],
])('%s is refused', (_, text, message) => {
  expect(() => parseRows(utf8(text), 'log')).toThrow(invalid(message));
});

test('bytes that are no text are refused', () => {
  expect(() => parseRows(Uint8Array.of(0xff, 0xfe), 'log')).toThrow(invalid('log is not text in UTF-8'));
});

test('what a service wrote comes back, in each form', () => {
  const rows = fc.array(
    fc.dictionary(fc.constantFrom('a', 'b', '__proto__x'), fc.string({ minLength: 1 }), { minKeys: 1 }),
    {
      minLength: 1,
    },
  );
  fc.assert(
    fc.property(rows, (given) => {
      const plain = given.map((row) => ({ ...row }));
      expect(parseRows(utf8(JSON.stringify(plain)), 'log')).toEqual(plain);
      expect(parseRows(utf8(plain.map((row) => JSON.stringify(row)).join('\n')), 'log')).toEqual(plain);
    }),
  );
});

test('any bytes are rows, or refused by our own code', () => {
  const hostile = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.string().map(utf8), fc.json().map(utf8));
  fc.assert(
    fc.property(hostile, (bytes) => {
      try {
        const rows = parseRows(bytes, 'log');
        for (const read of [vaultRows, storageRows, trainerRows]) read(rows, 'log');
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      }
    }),
  );
});
