import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseGuestRequest } from '../../emulator/azure-guest-request.ts';
import { refusingRule } from '../../emulator/guest-token.ts';
import { GUEST_CHECKS, verifyGuest } from '../../emulator/guest-verification.ts';
import { createVtpmAuthority, issueAkCertificate } from '../../emulator/service-pki.ts';
import type { AzureGuestRequest } from '../../runtime/attestation/azure-guest.ts';
import { buildAzureGuestRequest } from '../../runtime/attestation/azure-guest.ts';
import { importJwk } from '../../runtime/crypto/jwk.ts';
import { ATTESTATION_POLICY } from '../../runtime/keys/release-policy.ts';
import { createEphemeralKey, quotePcrs } from '../../runtime/tpm/azure-vtpm.ts';
import { buildRsaPublic, parseRsaPublic } from '../../runtime/tpm/structures.ts';
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
        akPublicArea: buildRsaPublic({ ...area, unique: flipped(flipped(area.unique).reverse()).reverse() }),
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
