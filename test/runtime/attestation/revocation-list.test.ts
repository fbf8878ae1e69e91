import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { der, integer } from '../../../emulator/amd-certificate.ts';
import { type AmdPki, createAmdPki, issueRevocationList } from '../../../emulator/amd-pki.ts';
import { DER_TAG } from '../../../runtime/attestation/der.ts';
import { UNSUPPORTED } from '../../../runtime/attestation/malformed.ts';
import { certificateNames, isCurrent, isListOf, isRevoked } from '../../../runtime/attestation/revocation-checks.ts';
import { LONGEST_REVOCATION_LIST, parseRevocationList } from '../../../runtime/attestation/revocation-list.ts';
import { concat, fromHex, toBase64, utf8 } from '../../../runtime/crypto/bytes.ts';
import { flipBit } from './machine.ts';

let pki: AmdPki;
let ark: X509Certificate;
let good: Uint8Array;
const folder = mkdtempSync(join(tmpdir(), 'ctrain-crl-'));

beforeAll(async () => {
  pki = await createAmdPki('Genoa', { modulusLength: 2048 });
  ark = new X509Certificate(pki.ark);
  good = issueRevocationList(pki, { revoked: [pki.ask, pki.vcek] });
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true }));

const runs = { numRuns: process.env.SLOW === undefined ? 300 : 10_000 };
const pem = (list: Uint8Array, label = 'X509 CRL') =>
  `-----BEGIN ${label}-----\n${toBase64(list).replace(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`;

test('reads what the root states, as DER and as PEM', () => {
  const thisUpdate = new Date('2026-11-01T00:00:00Z');
  const nextUpdate = new Date('2027-11-01T12:34:56Z');
  const bytes = issueRevocationList(pki, { thisUpdate, nextUpdate, revoked: [pki.ask] });
  const list = parseRevocationList(bytes);
  const { issuer, serial } = certificateNames(new X509Certificate(pki.ask));
  expect(list).toMatchObject({ generation: 'Genoa', issuer, thisUpdate, nextUpdate, revoked: [{ issuer, serial }] });
  expect(serial).toBe('02');
  expect(parseRevocationList(utf8(`\n${pem(bytes)}`))).toEqual(list);
});

test('tells revoked from not, by issuer and serial number together', () => {
  const list = parseRevocationList(issueRevocationList(pki, { revoked: [pki.vcek] }));
  const [ask, vcek] = [pki.ask, pki.vcek].map((text) => new X509Certificate(text)) as [
    X509Certificate,
    X509Certificate,
  ];
  expect([isRevoked(list, vcek), isRevoked(list, ask), isRevoked(list, ark)]).toEqual([true, false, false]);
  const { serial } = certificateNames(vcek);
  const ofAnother = { ...list, revoked: [{ issuer: list.issuer, serial }] };
  expect(isRevoked(ofAnother, vcek)).toBe(false);
});

test('is of its root only, and until the next one is due', () => {
  const list = parseRevocationList(good);
  expect([isListOf(list, ark), isListOf(list, new X509Certificate(pki.ask))]).toEqual([true, false]);
  expect(isListOf(list, new X509Certificate(pki.vcek))).toBe(false);
  expect(isListOf({ ...list, issuer: '00' }, ark)).toBe(false);
  const due = list.nextUpdate.getTime();
  expect([0, 1].map((more) => isCurrent(list, new Date(due + more)))).toEqual([true, false]);
  expect(isCurrent(list, new Date(Number.NaN))).toBe(false);
});

/** Nobody signs these: whether somebody did is not for the parser to see. */
interface Parts {
  readonly version?: Uint8Array;
  readonly algorithm?: Uint8Array;
  readonly outer?: Uint8Array;
  readonly issuer?: Uint8Array;
  readonly times?: readonly Uint8Array[];
  readonly entries?: readonly Uint8Array[];
  readonly extensions?: readonly Uint8Array[];
  readonly behind?: readonly Uint8Array[];
  readonly signature?: Uint8Array;
}

const { sequence, utcTime } = DER_TAG;
const oid = (hex: string) => der(DER_TAG.objectIdentifier, fromHex(hex));
const name = (...commonNames: readonly string[]) =>
  der(
    sequence,
    ...commonNames.map((text) => der(DER_TAG.set, der(sequence, oid('550403'), der(DER_TAG.utf8String, utf8(text))))),
  );
const time = (text: string, tag: number = utcTime) => der(tag, utf8(text));
const TRUE = Uint8Array.of(DER_TAG.boolean, 1, 0xff);
const extension = (id: string, value: Uint8Array, critical: Uint8Array = new Uint8Array()) =>
  der(sequence, oid(id), critical, der(DER_TAG.octetString, value));
const entry = (serial: Uint8Array, ...extensions: readonly Uint8Array[]) =>
  der(sequence, serial, time('261101000000Z'), ...(extensions.length === 0 ? [] : [der(sequence, ...extensions)]));
const SERIAL = integer(7);

function pss({ hash = '608648016503040202', salt = 48, nulls = true, trailer = 0 } = {}): Uint8Array {
  const algorithm = der(sequence, oid(hash), ...(nulls ? [der(DER_TAG.null)] : []));
  return der(
    sequence,
    oid('2a864886f70d01010a'),
    der(
      sequence,
      der(0xa0, algorithm),
      der(0xa1, der(sequence, oid('2a864886f70d010108'), algorithm)),
      der(0xa2, integer(salt)),
      ...(trailer === 0 ? [] : [der(0xa3, integer(trailer))]),
    ),
  );
}

function crl(parts: Parts = {}): Uint8Array {
  const algorithm = parts.algorithm ?? pss();
  const tbs = der(
    sequence,
    parts.version ?? integer(1),
    algorithm,
    parts.issuer ?? name('ARK-Milan'),
    ...(parts.times ?? [time('261101000000Z'), time('271101000000Z')]),
    ...(parts.entries === undefined ? [] : [der(sequence, ...parts.entries)]),
    ...(parts.extensions === undefined ? [] : [der(0xa0, der(sequence, ...parts.extensions))]),
    ...(parts.behind ?? []),
  );
  return der(
    sequence,
    tbs,
    parts.outer ?? algorithm,
    parts.signature ?? der(DER_TAG.bitString, Uint8Array.of(0, 1, 2, 3)),
  );
}

const INDIRECT = extension('551d1c', fromHex('30038401ff'), TRUE);
const byAnother = (...issuers: readonly string[]) =>
  extension('551d1d', der(sequence, ...issuers.map((issuer) => der(0xa4, name(issuer)))), TRUE);

test.each<[string, Parts]>([
  ['as AMD writes its parameters', { algorithm: pss({ trailer: 1 }) }],
  ['parameters without NULL', { algorithm: pss({ nulls: false }) }],
  ['nothing revoked', {}],
  ['a far end', { times: [time('491231235959Z'), time('20500101000000Z', DER_TAG.generalizedTime)] }],
  ['extensions that change nothing', { extensions: [extension('551d14', integer(5)), extension('2a0304', SERIAL)] }],
  ['a reason', { entries: [entry(SERIAL, extension('551d15', fromHex('0a0106')))] }],
])('takes %s', (_, parts) => {
  expect(parseRevocationList(crl(parts)).generation).toBe('Milan');
});

test('an entry is of the issuer last named', () => {
  const entries = [
    entry(SERIAL),
    entry(SERIAL, byAnother('SEV-Milan')),
    entry(integer(0)),
    entry(SERIAL, byAnother('x')),
  ];
  const { issuer, revoked } = parseRevocationList(crl({ entries, extensions: [INDIRECT] }));
  expect(revoked.map((each) => each.serial)).toEqual(['07', '07', '00', '07']);
  expect(revoked[0]?.issuer).toBe(issuer);
  expect(new Set(revoked.map((each) => each.issuer)).size).toBe(3);
  expect(revoked[2]?.issuer).toBe(revoked[1]?.issuer);
});

const WRONG: readonly [string, () => Uint8Array][] = [
  [`has 65537 bytes, wanted at most ${LONGEST_REVOCATION_LIST}`, () => new Uint8Array(LONGEST_REVOCATION_LIST + 1)],
  ['is neither DER nor one PEM block', () => new Uint8Array()],
  ['is neither DER nor one PEM block', () => utf8(pem(crl(), 'CERTIFICATE'))],
  ['is neither DER nor one PEM block', () => utf8(pem(crl()) + pem(crl()))],
  ['is not base64', () => utf8('-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----')],
  ['is not one sequence of three elements', () => concat(crl(), Uint8Array.of(5, 0))],
  ['is not version 2', () => crl({ version: integer(0) })],
  ['is not version 2', () => crl({ version: new Uint8Array() })],
  ['is not signed with RSASSA-PSS, SHA-384', () => crl({ algorithm: pss({ hash: '608648016503040201' }) })],
  ['is not signed with RSASSA-PSS, SHA-384', () => crl({ algorithm: pss({ salt: 20 }) })],
  ['is not signed with RSASSA-PSS, SHA-384', () => crl({ algorithm: pss({ trailer: 2 }) })],
  ['is not signed with RSASSA-PSS', () => crl({ algorithm: der(sequence, oid('2a864886f70d01010a'), der(sequence)) })],
  ['is not signed with RSASSA-PSS', () => crl({ algorithm: der(sequence, oid('2a864886f70d01010c')) })],
  ['names two signature algorithms', () => crl({ outer: pss({ nulls: false }) })],
  ['has no signature of whole bytes', () => crl({ signature: der(DER_TAG.bitString, Uint8Array.of(4, 0)) })],
  ['has no time where one belongs', () => crl({ times: [time('261101000000Z')] })],
  ['has no time where one belongs', () => crl({ times: [time('261101000000Z'), time('271101000000+0100')] })],
  ['has a time that is none', () => crl({ times: [time('260230000000Z'), time('271101000000Z')] })],
  [
    'has a time before 2050 as GeneralizedTime',
    () => crl({ times: [time('261101000000Z'), time('20271101000000Z', DER_TAG.generalizedTime)] }),
  ],
  ['ends before it begins', () => crl({ times: [time('271101000000Z'), time('261101000000Z')] })],
  ['is of nobody, wanted ARK-', () => crl({ issuer: name() })],
  ['is of "SEV-Milan", wanted ARK-', () => crl({ issuer: name('SEV-Milan') })],
  ['is of "ARK-Milan" and "ARK-Genoa", wanted ARK-', () => crl({ issuer: name('ARK-Milan', 'ARK-Genoa') })],
  ['has an empty list of entries', () => crl({ entries: [] })],
  ['has an entry without a serial number', () => crl({ entries: [entry(der(DER_TAG.integer))] })],
  ['has an entry without a serial number', () => crl({ entries: [entry(der(DER_TAG.integer, Uint8Array.of(0xff)))] })],
  ['has an entry without a serial number', () => crl({ entries: [entry(der(DER_TAG.integer, Uint8Array.of(0, 1)))] })],
  [
    'has an entry without a serial number',
    () => crl({ entries: [entry(der(DER_TAG.integer, new Uint8Array(21).fill(1)))] }),
  ],
  ['has no time where one belongs', () => crl({ entries: [der(sequence, SERIAL)] })],
  [
    'has an entry of more than three elements',
    () => crl({ entries: [der(sequence, SERIAL, time('261101000000Z'), der(sequence), SERIAL)] }),
  ],
  ['names another issuer but is not an indirect one', () => crl({ entries: [entry(SERIAL, byAnother('SEV-Milan'))] })],
  [
    'has an entry whose issuer is not one name',
    () => crl({ entries: [entry(SERIAL, byAnother('a', 'b'))], extensions: [INDIRECT] }),
  ],
  ['has critical extension 2a0304, which', () => crl({ entries: [entry(SERIAL, extension('2a0304', SERIAL, TRUE))] })],
  ['has critical extension 551d1b, which', () => crl({ extensions: [extension('551d1b', integer(1), TRUE)] })],
  ['is one of some certificates only', () => crl({ extensions: [extension('551d1c', fromHex('30038201ff'), TRUE)] })],
  ['has two extensions 551d14', () => crl({ extensions: [0, 0].map(() => extension('551d14', integer(1))) })],
  ['has a boolean that is none', () => crl({ extensions: [extension('551d14', integer(1), fromHex('010100'))] })],
  ['has an extension without name or value', () => crl({ extensions: [der(sequence, oid('551d14'))] })],
  ['has DER tag 163 behind its entries', () => crl({ behind: [der(0xa3)] })],
];

test.each(WRONG)('refuses: %s', (message, bytes) => {
  const malformed = expect.objectContaining({
    code: 'EVIDENCE_MALFORMED',
    message: expect.stringContaining(`revocation list ${message}`),
  });
  expect(() => parseRevocationList(bytes())).toThrow(malformed);
});

test('what may be right but is not understood is marked so', () => {
  for (const parts of [{ issuer: name('ARK-Venice') }, { extensions: [extension('551d1b', SERIAL, TRUE)] }]) {
    expect(() => parseRevocationList(crl(parts))).toThrow(expect.objectContaining({ failures: [UNSUPPORTED] }));
  }
});

describe('any input', () => {
  /** Passes or throws EVIDENCE_MALFORMED; what passes is signed, or it is not. */
  const isGood = (bytes: Uint8Array): boolean => {
    try {
      return isListOf(parseRevocationList(bytes), ark);
    } catch (error) {
      expect(error).toMatchObject({ name: 'SecureTrainingError', code: 'EVIDENCE_MALFORMED' });
      return false;
    }
  };

  test('of random bytes is refused', () => {
    const anything = fc.uint8Array({ maxLength: 2000 });
    fc.assert(
      fc.property(anything, fc.boolean(), (bytes, framed) => {
        expect(isGood(framed ? der(sequence, bytes) : bytes)).toBe(false);
      }),
      runs,
    );
  });

  test('with one bit flipped is refused', () => {
    expect(isGood(good)).toBe(true);
    fc.assert(
      fc.property(fc.nat(good.length * 8 - 1), (bit) => {
        expect(isGood(flipBit(good, bit))).toBe(false);
      }),
      runs,
    );
  });

  test('that ends early is refused, wherever', () => {
    for (let end = 0; end < good.length; end++) expect(isGood(good.slice(0, end))).toBe(false);
  });

  test('with bytes replaced is refused', () => {
    const patch = fc.record({ at: fc.nat(good.length - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
    fc.assert(
      fc.property(patch, ({ at, bytes }) => {
        const changed = concat(good.subarray(0, at), bytes, good.subarray(at + bytes.length));
        expect(isGood(changed)).toBe(toBase64(changed) === toBase64(good));
      }),
      runs,
    );
  });
});

// OpenSSL as an oracle in both directions: what it issues we read, what the emulator issues it verifies.
const OPENSSL = 'openssl';
const NO_OPENSSL = spawnSync(OPENSSL, ['version']).status !== 0;

describe.skipIf(NO_OPENSSL)('openssl', () => {
  const write = (file: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, file), content);
    return file;
  };
  const openssl = (...args: readonly string[]) =>
    execFileSync(OPENSSL, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  test('issues a list that is read, and holds', () => {
    const serial = '010001';
    write('index.txt', `R\t330101000000Z\t261101000000Z,keyCompromise\t${serial}\tunknown\t/CN=SEV-Genoa\n`);
    write('crlnumber', '05\n');
    write('ark.pem', pki.ark);
    write('ark.key', pki.arkKey);
    const config = ['[ca]', 'default_ca = ark', '[ark]', 'database = index.txt', 'crlnumber = crlnumber'];
    write('ca.cnf', [...config, 'default_md = sha384', 'crl_extensions = ext', '[ext]', ''].join('\n'));
    const pss = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:48'];
    const dates = ['-crl_lastupdate', '20261101000000Z', '-crl_nextupdate', '20271101000000Z'];
    const keys = ['-keyfile', 'ark.key', '-cert', 'ark.pem'];
    openssl('ca', '-gencrl', '-config', 'ca.cnf', ...keys, ...pss, ...dates, '-out', 'made.pem');
    const list = parseRevocationList(Uint8Array.from(readFileSync(join(folder, 'made.pem'))));
    expect(list).toMatchObject({
      generation: 'Genoa',
      nextUpdate: new Date('2027-11-01T00:00:00Z'),
      revoked: [{ issuer: list.issuer, serial }],
    });
    expect(isListOf(list, ark)).toBe(true);
  });

  test('verifies and reads the list of the emulator', () => {
    const args = ['crl', '-inform', 'DER', '-in', write('emulated.crl', good), '-CAfile', write('ark.pem', pki.ark)];
    const said = spawnSync(OPENSSL, [...args, '-verify', '-text', '-noout'], { cwd: folder, encoding: 'utf8' });
    expect(said.stderr).toContain('verify OK');
    for (const wanted of ['Version 2', 'rsassaPss', 'Indirect CRL', 'Certificate Issuer', 'CN = SEV-Genoa']) {
      expect(said.stdout.replaceAll('CN=', 'CN = ')).toContain(wanted);
    }
    expect(said.stdout.match(/Serial Number:/g)).toHaveLength(2);
  });
});
