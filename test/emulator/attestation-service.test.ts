import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseGuestRequest } from '../../emulator/azure-guest-request.ts';
import { emulatedEventLog } from '../../emulator/event-log.ts';
import { refusingRule } from '../../emulator/guest-token.ts';
import { GUEST_CHECKS, verifyGuest } from '../../emulator/guest-verification.ts';
import { createVtpmAuthority, issueAkCertificate } from '../../emulator/service-pki.ts';
import type { AzureGuestRequest } from '../../runtime/attestation/azure-guest.ts';
import { buildAzureGuestRequest } from '../../runtime/attestation/azure-guest.ts';
import { importJwk } from '../../runtime/crypto/jwk.ts';
import { ATTESTATION_POLICY } from '../../runtime/keys/release-policy.ts';
import { AZURE_VTPM, createEphemeralKey, quotePcrs } from '../../runtime/tpm/azure-vtpm.ts';
import { buildRsaPublic, parseRsaPublic, pcrPolicy } from '../../runtime/tpm/structures.ts';
import { VM_ID } from '../runtime/attestation/machine.ts';
import { attestation, call, createFixture, type Fixture, guestRequest, NOW, Services } from './services.ts';

type Guest = Awaited<ReturnType<typeof guestRequest>>;
const services = new Services();
const BOOT = [0, 1, 2, 3, 4, 5, 6, 7];
let fixture: Fixture;
let guest: Guest;
let base: string;

beforeAll(async () => {
  fixture = await createFixture();
  guest = await guestRequest(fixture);
  base = await services.listen(attestation(fixture));
}, 60_000);

afterAll(async () => {
  await guest.ephemeral.close();
  await guest.close();
  await services.close();
});

function failuresOf(request: AzureGuestRequest): readonly string[] {
  const parsed = parseGuestRequest(buildAzureGuestRequest(request));
  const options = { trust: fixture.machine.trust, at: NOW, vtpmAuthority: fixture.vtpmAuthority.chain[0] ?? '' };
  try {
    verifyGuest(parsed, options);
    return [];
  } catch (error) {
    expect(error).toMatchObject({ code: 'ATTESTATION_REJECTED' });
    return (error as { failures: readonly string[] }).failures;
  }
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
  return copy;
}

const CASES: readonly (readonly [string, (good: Guest) => Promise<AzureGuestRequest>])[] = [
  ['debug is off', async () => (await guestRequest(fixture, { debug: true })).request],
  ['migration is off', async () => (await guestRequest(fixture, { migration: true })).request],
  ['vmpl is 0', async () => (await guestRequest(fixture, { vmpl: 1 })).request],
  [
    'quote covers pcr 0 to 7',
    async ({ request, tpm }) => ({
      ...request,
      pcrQuote: await quotePcrs(tpm, new Uint8Array(), [0, 1, 2, 3]),
      ephemeral: await createEphemeralKey(tpm, [0, 1, 2, 3]),
    }),
  ],
  [
    'quote has empty qualifying data',
    async ({ request, tpm }) => ({ ...request, pcrQuote: await quotePcrs(tpm, Uint8Array.of(1), BOOT) }),
  ],
  [
    'attestation key is the reported one',
    async ({ request }) => {
      const area = parseRsaPublic(request.akPublicArea);
      return {
        ...request,
        akPublicArea: buildRsaPublic({
          ...area,
          unique: Uint8Array.from(area.unique, (byte, i) => byte ^ Number(i === 9)),
        }),
      };
    },
  ],
  [
    'certificate is of the attestation key',
    async ({ request }) => ({
      ...request,
      akCertificate: issueAkCertificate(createVtpmAuthority(NOW), importJwk(fixture.machine.akKey), VM_ID, NOW),
    }),
  ],
  [
    'ephemeral key is certified by the attestation key',
    async ({ request }) => ({
      ...request,
      ephemeral: {
        ...request.ephemeral,
        publicArea: request.ephemeral.publicArea,
        certifyInfo: request.ephemeral.certifyInfo,
        certifySignature: flipped(request.ephemeral.certifySignature),
      },
    }),
  ],
  [
    'ephemeral key is bound to the quoted pcrs',
    async ({ request, tpm }) => ({ ...request, ephemeral: await createEphemeralKey(tpm, [0, 1, 2, 3]) }),
  ],
];

test('accepts a genuine guest', () => {
  expect(failuresOf(guest.request)).toEqual([]);
});

test.each(CASES)('refuses a guest when not: %s', async (check, change) => {
  expect(failuresOf(await change(guest))).toEqual([check]);
});

test('a key that opens without its policy is refused, also because nobody certified it', async () => {
  const area = parseRsaPublic(guest.request.ephemeral.publicArea);
  const publicArea = buildRsaPublic({ ...area, attributes: area.attributes | 0x40 });
  const { certifyInfo, certifySignature } = guest.request.ephemeral;
  expect(failuresOf({ ...guest.request, ephemeral: { publicArea, certifyInfo, certifySignature } })).toEqual([
    'ephemeral key is a decryption key of the vTPM',
    'ephemeral key is certified by the attestation key',
  ]);
});

test('every check has a case', () => {
  const tested = new Set([...CASES.map(([check]) => check), 'ephemeral key is a decryption key of the vTPM']);
  expect(GUEST_CHECKS.filter((check) => !tested.has(check))).toEqual([]);
});

test('claims that the report does not hash are refused', () => {
  const claims = new TextEncoder().encode(
    new TextDecoder().decode(guest.request.runtimeClaims).replace('"secure-boot":true', '"secure-boot":false'),
  );
  expect(failuresOf({ ...guest.request, runtimeClaims: claims })).toEqual(['claims are the reported ones']);
});

test.each<[string, Uint8Array, readonly string[]]>([
  ['that replays to the quote', emulatedEventLog(), []],
  ['of no bytes', new Uint8Array(), []],
  [
    'of another boot',
    emulatedEventLog({ secureBoot: false }),
    ['event log replays to the quoted pcrs', 'event log agrees on secure boot'],
  ],
])('an event log %s is checked', (_, tcgLog, failures) => {
  expect(failuresOf({ ...guest.request, tcgLog })).toEqual(failures);
});

test('a machine without secure boot is refused by the policy, over http', async () => {
  const insecure = await guestRequest(fixture, { secureBoot: false });
  const answer = await call(
    `${base}/attest/AzureGuest?api-version=2022-08-01`,
    'POST',
    buildAzureGuestRequest(insecure.request),
  );
  expect(answer).toMatchObject({
    status: 400,
    body: {
      error: {
        code: 'PolicyEvaluationError',
        message: expect.stringContaining('[type=="secureboot", value==false] => deny();'),
      },
    },
  });
});

test.each([
  [
    'debug machine',
    async () => buildAzureGuestRequest((await guestRequest(fixture, { debug: true })).request),
    'guest rejected: not (debug is off)',
  ],
  ['empty object', async () => ({}), 'AttestationInfo is not text'],
  ['no base64', async () => ({ AttestationInfo: '%' }), 'AttestationInfo is not base64'],
  ['no JSON', async () => ({ AttestationInfo: 'AAAA' }), 'AttestationInfo is not JSON'],
])('answers 400 with a reason: %s', async (_, body, message) => {
  const answer = await call(`${base}/attest/AzureGuest?api-version=2022-08-01`, 'POST', await body());
  expect(answer).toMatchObject({ status: 400, body: { error: { code: 'InvalidParameter', message } } });
});

type Info = { TpmInfo: Record<string, unknown>; IsolationInfo: { Evidence: Record<string, unknown> } } & Record<
  string,
  unknown
>;
const inStandard = (text: string) => Buffer.from(text, 'base64').toString('base64');
const inUrlSafe = (text: string) => Buffer.from(text, 'base64').toString('base64url');
/** Every base64 text of TpmInfo, written another way. */
function respelled(info: Info, spell: (text: string) => string): Info {
  const isText = ([, value]: [string, unknown]) => typeof value === 'string';
  const texts = Object.entries(info.TpmInfo).filter(isText) as [string, string][];
  const pcrs = (info.TpmInfo.PCRs as { Index: number; Digest: string }[]).map(({ Index, Digest }) => ({
    Index,
    Digest: spell(Digest),
  }));
  const again = Object.fromEntries(texts.map(([name, text]) => [name, spell(text)]));
  return { ...info, TpmInfo: { ...info.TpmInfo, ...again, PCRs: pcrs } };
}

// What clients in the field send: Microsoft's C++ client 990f662, the API document's example, Constellation's Go client.
test.each<[string, (info: Info) => unknown]>([
  ['as this project writes it', (info) => info],
  ['standard base64 inside', (info) => respelled(info, inStandard)],
  ['URL-safe base64 without padding inside', (info) => respelled(info, inUrlSafe)],
  [
    'URL-safe base64 with padding inside',
    (info) => respelled(info, (text) => inStandard(text).replaceAll('+', '-').replaceAll('/', '_')),
  ],
  ['no payload, as null', (info) => ({ ...info, ClientPayload: null })],
  ['no payload, left out', ({ ClientPayload: _, ...info }) => info],
  ['several payloads', (info) => ({ ...info, ClientPayload: { nonce: 'bg==', other: 'bw==' } })],
  ['no event log, as null', (info) => ({ ...info, TcgLogs: null })],
  ['no event log, left out', ({ TcgLogs: _, ...info }) => info],
  ['no event log, as empty text', (info) => ({ ...info, TcgLogs: '' })],
  ['members it does not know', (info) => ({ ...info, Telemetry: {}, TpmInfo: { ...info.TpmInfo, More: 1 } })],
  [
    'pcrs in descending order',
    (info) => ({ ...info, TpmInfo: { ...info.TpmInfo, PCRs: (info.TpmInfo.PCRs as object[]).toReversed() } }),
  ],
])('takes a request with %s', async (_, change) => {
  const body = buildAzureGuestRequest(guest.request);
  const info = JSON.parse(Buffer.from(body.AttestationInfo, 'base64url').toString()) as Info;
  // Spread over lines and indented by tabs, as jsoncpp writes it.
  const AttestationInfo = Buffer.from(`${JSON.stringify(change(info), undefined, '\t')}\n`).toString('base64url');
  const answer = await call(`${base}/attest/AzureGuest?api-version=2020-10-01`, 'POST', { AttestationInfo });
  expect(answer.body).toEqual({ token: expect.stringMatching(/^[A-Za-z0-9+/]+={0,2}$/) });
});

// Windows and the API document's example quote 0 to 7 and 11 to 14, Azure Local 0 to 7 and 11.
test.each([[[...BOOT, 11]], [[...BOOT, 11, 12, 13, 14]]])('takes a quote over pcrs %j', async (pcrs) => {
  const { tpm, request } = await guestRequest(fixture);
  const pcrQuote = await quotePcrs(tpm, new Uint8Array(), pcrs);
  expect(failuresOf({ ...request, pcrQuote, ephemeral: await createEphemeralKey(tpm, pcrs) })).toEqual([]);
});

test('takes the ephemeral key of the C++ client: made from a template whose unique is all zero, with no random in it', async () => {
  const { tpm, request } = await guestRequest(fixture);
  const authPolicy = pcrPolicy(await tpm.pcrRead(BOOT));
  const template = buildRsaPublic({
    ...parseRsaPublic(request.ephemeral.publicArea),
    authPolicy,
    unique: new Uint8Array(256),
  });
  const made = await tpm.createPrimary('null', template);
  const { message, signature } = await tpm.certify(made.handle, AZURE_VTPM.akHandle, new Uint8Array());
  const again = await tpm.createPrimary('null', template);
  // What it relies on: it makes the key twice, to ask and to open the answer.
  expect(again.publicArea).toEqual(made.publicArea);
  expect(made.publicArea).toHaveLength(2 + 0x136);
  const ephemeral = { publicArea: made.publicArea, certifyInfo: message, certifySignature: signature };
  expect(failuresOf({ ...request, ephemeral })).toEqual([]);
});

test.each([
  ['Trusted Launch', { Type: 'TrustedLaunch' }, 'IsolationInfo.Type: wanted "SevSnp"'],
  ['Intel TDX', { Type: 'Tdx', Evidence: {} }, 'IsolationInfo.Type: wanted "SevSnp"'],
])('a machine under %s is told that it is no SEV-SNP one', async (_, IsolationInfo, message) => {
  const info = JSON.parse(
    Buffer.from(buildAzureGuestRequest(guest.request).AttestationInfo, 'base64url').toString(),
  ) as object;
  const AttestationInfo = Buffer.from(JSON.stringify({ ...info, IsolationInfo })).toString('base64url');
  const answer = await call(`${base}/attest/AzureGuest?api-version=2020-10-01`, 'POST', { AttestationInfo });
  expect(answer).toMatchObject({ status: 400, body: { error: { code: 'InvalidParameter', message } } });
});

test('needs an api-version, and knows one operation', async () => {
  expect(await call(`${base}/attest/AzureGuest`, 'POST', {})).toMatchObject({ status: 400 });
  expect(await call(`${base}/attest/SevSnpVm?api-version=2022-08-01`, 'POST', {})).toMatchObject({ status: 404 });
});

test('serves its key as a certificate in its own name', async () => {
  const { body } = await call(`${base}/certs`);
  const [key] = body.keys as { x5c: string[]; kid: string }[];
  const certificate = new X509Certificate(Buffer.from(key?.x5c[0] ?? '', 'base64'));
  expect(certificate.subject).toBe('CN=https://maowner.neu.attest.azure.net');
  expect(key?.kid).toMatch(/^[A-Za-z0-9+/]{43}=$/);
});

test('a policy with a rule it does not know does not start', () => {
  expect(refusingRule(ATTESTATION_POLICY, { secureboot: true })).toBeUndefined();
  expect(() => refusingRule(ATTESTATION_POLICY.replace('=> permit();', 'c:[type=="x"] => permit();'), {})).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: 'attestation policy has rules that the emulator does not know',
    }),
  );
});
