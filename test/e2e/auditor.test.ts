import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAmdPki, issueRevocationList } from '../../emulator/amd-pki.ts';
import { serialiseEvidence } from '../../runtime/attestation/evidence.ts';
import { STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { buildReleasePolicy, releasePolicyBytes } from '../../runtime/keys/release-policy.ts';
import { CHALLENGE, milan2023, milan2025, VECTORS_ABSENT, vector } from '../runtime/attestation/vectors.ts';
import { newFolder, start } from './cli-process.ts';

let folder: string;
beforeAll(async () => {
  folder = await newFolder();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const ctrain = (...args: readonly string[]) => start(folder, ...args).ended;

async function file(name: string, value: unknown): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), value instanceof Uint8Array ? value : JSON.stringify(value));
  return name;
}

describe.skipIf(VECTORS_ABSENT)('verify-evidence, on evidence of real machines', () => {
  test('a machine of 2025 is accepted by the strict policy', async () => {
    const evidence = await file('2025.json', serialiseEvidence(milan2025()));
    const { code, out } = await ctrain(
      'verify-evidence',
      '--evidence',
      evidence,
      '--at',
      '2025-10-01T00:00:00Z',
      '--json',
    );
    expect({ code, ...JSON.parse(out) }).toEqual({ code: 0, verdict: 'accepted', failures: [] });
  });

  test('a machine of 2023 is rejected, with every failed check on a line', async () => {
    const evidence = await file('2023.json', serialiseEvidence(milan2023()));
    const { code, out } = await ctrain('verify-evidence', '--evidence', evidence, '--at', '2024-06-01T00:00:00Z');
    expect(code).toBe(10);
    expect(out.trim().split('\n')).toEqual([
      '✗ report version is new enough',
      '✗ reported tcb is new enough',
      '✗ committed tcb is new enough',
      '✗ launch tcb is new enough',
      '✗ id key is accepted',
      '✗ guest svn is new enough',
      '✗ memory was checked for aliases',
      'event log: none shown',
      'REJECTED',
    ]);
  });

  test('a policy file decides, and lacks no field', async () => {
    const evidence = await file('2025.json', serialiseEvidence(milan2025()));
    const stricter = await file('stricter.json', { ...STRICT_ENVIRONMENT, generations: ['Genoa'] });
    const rejected = await ctrain('verify-evidence', '-e', evidence, '-p', stricter, '--at', '2025-10-01T00:00:00Z');
    expect(rejected).toMatchObject({ code: 10, out: '✗ generation is accepted\nevent log: none shown\nREJECTED\n' });
    const { vmIds, ...lacking } = STRICT_ENVIRONMENT;
    expect(vmIds).toBe('any');
    const refused = await ctrain('verify-evidence', '-e', evidence, '-p', await file('lacking.json', lacking));
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('vmIds') });
  });

  test('a revocation list is asked, and has to be AMD’s, of this generation', async () => {
    const evidence = await file('2025.json', serialiseEvidence(milan2025()));
    const at = ['--at', '2025-10-01T00:00:00Z'];
    const against = (crl: string) => ctrain('verify-evidence', '-e', evidence, '--crl', crl, ...at);
    for (const [generation, failure] of [
      ['Milan', 'revocation list is signed by the ark'],
      ['Genoa', 'revocation list is shown'],
    ] as const) {
      const own = issueRevocationList(await createAmdPki(generation, { modulusLength: 2048 }));
      const rejected = await against(await file(`${generation}.crl`, own));
      expect(rejected.code).toBe(10);
      expect(rejected.out.split('\n').filter((line) => line.startsWith('✗'))).toEqual([`✗ ${failure}`]);
    }
    const refused = await against(evidence);
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('2025.json: revocation list is neither') });
  });

  test('an event log of another machine is refused, and what it says is not vouched for', async () => {
    const shown = { ...milan2025(), eventLog: vector('go-tpm-tools/eventlogs/ubuntu-2404-amd-sevsnp.bin') };
    const evidence = await file('log.json', serialiseEvidence(shown));
    const { code, out } = await ctrain('verify-evidence', '-e', evidence, '--at', '2025-10-01T00:00:00Z');
    expect(code).toBe(10);
    expect(out.split('\n')).toEqual(
      expect.arrayContaining([
        '✗ event log replays to the quoted pcrs',
        '✗ event log agrees on secure boot',
        'secure boot: off (not authenticated)',
      ]),
    );
    const json = await ctrain('verify-evidence', '-e', evidence, '--at', '2025-10-01T00:00:00Z', '--json');
    expect(JSON.parse(json.out)).toMatchObject({
      verdict: 'rejected',
      boot: { secureBoot: { enabled: false, authenticated: false }, kernel: { path: '/vmlinuz-6.8.0-1010-gcp' } },
    });
    const cut = { ...shown, eventLog: shown.eventLog.slice(0, -1) };
    expect(await ctrain('verify-evidence', '-e', await file('cut.json', serialiseEvidence(cut)))).toMatchObject({
      code: 30,
      out: expect.stringContaining('event log is truncated'),
    });
  });

  test('a nonce beside the quote has to be the quote’s', async () => {
    const at = ['--at', '2025-10-01T00:00:00Z'];
    const asked = await file('asked.json', serialiseEvidence({ ...milan2025(), nonce: utf8(CHALLENGE) }));
    expect(await ctrain('verify-evidence', '-e', asked, ...at)).toMatchObject({ code: 0 });
    const other = await file('other-nonce.json', serialiseEvidence({ ...milan2025(), nonce: utf8('other') }));
    expect(await ctrain('verify-evidence', '-e', other, ...at)).toMatchObject({
      code: 10,
      out: '✗ quote nonce is the expected one\nevent log: none shown\nREJECTED\n',
    });
  });

  test('another kind of machine is unsupported', async () => {
    const bundle = serialiseEvidence(milan2025());
    const evidence = await file('other.json', { ...bundle, version: 2 });
    expect(await ctrain('verify-evidence', '-e', evidence)).toMatchObject({ code: 20 });
  });
});

test('what is no evidence is malformed', async () => {
  expect(await ctrain('verify-evidence', '-e', await file('none.json', { version: 1 }))).toMatchObject({ code: 30 });
});

test.each([
  ['a time without a zone', ['--at', '2025-10-01T00:00:00'], '--at: found "2025-10-01T00:00:00", wanted an RFC 3339'],
  ['a number for a time', ['--at', '5'], '--at: found "5", wanted an RFC 3339 time that ends in Z'],
  ['a policy that is no JSON', ['-p', 'binary'], 'binary is not JSON [CONFIG_INVALID]'],
  ['a folder', ['-e', '.'], 'no file at . [CONFIG_INVALID]'],
])('%s is the caller’s mistake, not the machine’s', async (_, flags, message) => {
  const evidence = await file('none.json', { version: 1 });
  await file('binary', Uint8Array.of(0xff, 0xfe, 0));
  expect(await ctrain('verify-evidence', '-e', evidence, ...flags)).toMatchObject({
    code: 2,
    out: '',
    err: expect.stringContaining(message),
  });
});

test.each([
  ['nothing', new Uint8Array()],
  ['bytes of any kind', Uint8Array.of(0xff, 0, 0x7b)],
  ['a byte order mark first', utf8('\ufeff{"version":1}')],
  ['members of every object', utf8('{"__proto__":{"version":1},"constructor":1}')],
])('evidence of %s is malformed', async (_, bytes) => {
  expect(await ctrain('verify-evidence', '-e', await file('odd.json', bytes))).toMatchObject({ code: 30, err: '' });
});

test('a token cannot write lines of the explanation', async () => {
  const authority = 'https://attowner.weu.attest.azure.net';
  const policy = await file('policy.json', releasePolicyBytes(buildReleasePolicy({ authority })));
  const claims = await file('lying.json', { iss: authority, secureboot: 'no\nwould release the key\u001b[2K' });
  const { code, out } = await ctrain('explain-policy', '-p', policy, '-t', claims);
  expect(code).toBe(10);
  expect(out).toContain('✗ secureboot equals true: found no?would release the key?[2K\n');
});

test('the default policy is printed, to start from', async () => {
  const { code, out } = await ctrain('verify-evidence', '--print-policy');
  expect({ code, policy: JSON.parse(out) }).toEqual({ code: 0, policy: STRICT_ENVIRONMENT });
});

test('explain-policy says which clause refuses', async () => {
  const authority = 'https://attowner.weu.attest.azure.net';
  const policy = await file('policy.json', releasePolicyBytes(buildReleasePolicy({ authority })));
  const refused = await ctrain('explain-policy', '-p', policy, '-t', await file('claims.json', { iss: authority }));
  expect(refused.code).toBe(10);
  expect(refused.out).toContain(`✓ authority equals ${authority}`);
  expect(refused.out).toContain('✗ secureboot equals true: found nothing');
  expect(refused.out.trim().endsWith('would refuse')).toBe(true);

  const { clauses } = JSON.parse((await ctrain('explain-policy', '-p', policy, '-t', 'claims.json', '--json')).out) as {
    clauses: readonly { clause: string }[];
  };
  const claims: Claims = { iss: authority };
  for (const { clause } of clauses.slice(1)) {
    const [path = '', value = ''] = clause.split(' equals ');
    setAt(claims, path.split('.'), value);
  }
  const allowed = await ctrain('explain-policy', '-p', policy, '-t', await file('good.json', claims));
  expect(allowed).toMatchObject({ code: 0, out: expect.stringContaining('would release the key') });
});

interface Claims {
  [name: string]: string | Claims;
}

function setAt(claims: Claims, [name = '', ...rest]: readonly string[], value: string): void {
  if (rest.length === 0) {
    claims[name] = value;
    return;
  }
  const inner = typeof claims[name] === 'object' ? claims[name] : {};
  claims[name] = inner;
  setAt(inner, rest, value);
}
