import { constants, createPublicKey, privateDecrypt, publicEncrypt, sign } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rootFingerprint } from '../../emulator/service-pki.ts';
import { buildAzureGuestRequest } from '../../runtime/attestation/azure-guest.ts';
import { type AttestationToken, type TokenExpectations, verifyToken } from '../../runtime/attestation/token.ts';
import { fromBase64, toBase64Url } from '../../runtime/crypto/bytes.ts';
import { publicJwk } from '../../runtime/crypto/jwk.ts';
import { isTransientDenial, openRelease } from '../../runtime/keys/release.ts';
import {
  buildReleasePolicy,
  evaluateReleasePolicy,
  policyDigest,
  releasePolicyBytes,
} from '../../runtime/keys/release-policy.ts';
import { VM_ID } from '../runtime/attestation/machine.ts';
import {
  AUTHORITY,
  attest,
  attestation,
  call,
  createFixture,
  type Fixture,
  guestRequest,
  NONCE,
  NOW,
  Services,
  VAULT_HOST,
  vault,
} from './services.ts';

const services = new Services();
let fixture: Fixture;
let maa: string;
let guest: Awaited<ReturnType<typeof guestRequest>>;
let jwt: string;
let expectations: TokenExpectations;

beforeAll(async () => {
  fixture = await createFixture();
  maa = await services.listen(attestation(fixture));
  guest = await guestRequest(fixture);
  jwt = await attest(maa, guest.request, guest.ephemeral);
  const certificates = (await call(`${maa}/certs`)).body;
  expectations = {
    authority: AUTHORITY,
    certificates,
    nonce: NONCE,
    ephemeralModulus: guest.ephemeral.modulus,
    vmId: VM_ID,
    now: NOW,
  };
}, 60_000);

afterAll(async () => {
  await guest.ephemeral.close();
  await guest.close();
  await services.close();
});

describe('attestation', () => {
  test('gives a genuine guest a token that holds', () => {
    const token = verifyToken(jwt, expectations);
    expect(token.transferKid).toBe('TpmEphemeralEncryptionKey');
    expect(Math.abs(token.issuedAt.getTime() - NOW.getTime())).toBeLessThan(1000);
    expect(token.claims['x-ms-azurevm-vmid']).toBe(VM_ID.toUpperCase());
    expect(token.claims['x-ms-azurevm-attested-pcrs']).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(token.claims['x-ms-isolation-tee']).toMatchObject({
      'x-ms-sevsnpvm-microcode-svn': 219,
      'x-ms-sevsnpvm-snpfw-svn': 24,
      'x-ms-sevsnpvm-guestsvn': 12,
      'x-ms-sevsnpvm-is-debuggable': false,
    });
  });

  test('meets the policy it is for, and a policy for another machine it does not', () => {
    const { claims } = verifyToken(jwt, expectations);
    const mine = buildReleasePolicy({ authority: AUTHORITY, vmIds: [VM_ID] });
    expect(evaluateReleasePolicy(mine, claims)).toMatchObject({ allowed: true });
    const other = buildReleasePolicy({ authority: AUTHORITY, vmIds: ['00000000-0000-4000-8000-000000000000'] });
    expect(evaluateReleasePolicy(other, claims).allowed).toBe(false);
  });

  test.each([
    [
      'small a, padded url-safe',
      (text: string) => ({ attestationInfo: `${text}${'='.repeat((4 - (text.length % 4)) % 4)}` }),
    ],
    ['standard alphabet', (text: string) => ({ AttestationInfo: Buffer.from(text, 'base64url').toString('base64') })],
  ])('takes the request field as clients write it: %s', async (_, spell) => {
    const body = spell(buildAzureGuestRequest(guest.request).AttestationInfo);
    const answer = await call(`${maa}/attest/AzureGuest?api-version=2020-10-01`, 'POST', body);
    expect(answer.status).toBe(200);
  });

  test('publishes how to find its keys', async () => {
    const { body } = await call(`${maa}/.well-known/openid-configuration`);
    expect(body).toMatchObject({ issuer: AUTHORITY, jwks_uri: `${AUTHORITY}/certs` });
  });
});

describe('release', () => {
  const policy = buildReleasePolicy({ authority: AUTHORITY, vmIds: [VM_ID] });
  const roles = { owner: ['get', 'create', 'update', 'wrap', 'unwrap'], trainer: ['release'], stranger: [] } as const;
  let vaultUrl: string;
  let kid: string;
  let bundle: Record<string, unknown>;
  let token: AttestationToken;

  const ask = (more: object = {}, bearer = 'trainer', path = new URL(kid).pathname) =>
    call(
      `${vaultUrl}${path}/release?api%2Dversion=7.4`,
      'POST',
      { target: jwt, nonce: 'n1', enc: 'RSA_AES_KEY_WRAP_256', ...more },
      bearer,
    );

  const options = () => {
    const [, , keyName = '', keyVersion = ''] = new URL(kid).pathname.split('/');
    const key = bundle.key as { n: string; e: string };
    return {
      expected: {
        vaultHost: VAULT_HOST,
        keyName,
        keyVersion,
        key: { kty: 'RSA', n: key.n, e: key.e } as const,
        policySha256: policyDigest(policy),
      },
      transferKid: token.transferKid,
      nonce: 'n1',
      trust: { vaultRoots: [rootFingerprint(fixture.vaultSigner)] },
      at: NOW,
      decrypt: (cipher: Uint8Array) => guest.ephemeral.decrypt(cipher, 'oaep-sha256'),
    };
  };

  beforeAll(async () => {
    token = verifyToken(jwt, expectations);
    vaultUrl = await services.listen(vault(fixture, roles));
    const created = await call(
      `${vaultUrl}/keys/training-key-1/create?api-version=7.4`,
      'POST',
      {
        kty: 'RSA-HSM',
        key_size: 3072,
        key_ops: ['wrapKey'],
        attributes: { exportable: true },
        release_policy: { data: toBase64Url(releasePolicyBytes(policy)), immutable: true },
      },
      'owner',
    );
    expect(created.status).toBe(200);
    bundle = created.body;
    kid = (bundle.key as { kid: string }).kid;
  }, 30_000);

  test('opens inside the vTPM to the key that the vault has', async () => {
    const { status, body } = await ask();
    expect(status).toBe(200);
    const { key, nonceEchoed } = await openRelease(String(body.value), options());
    expect(nonceEchoed).toBe(true);
    const { n, e } = bundle.key as { n: string; e: string };
    expect(publicJwk(key)).toEqual({ kty: 'RSA', n, e });
    const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    const secret = Buffer.from('content key');
    expect(privateDecrypt({ key, ...oaep }, publicEncrypt({ key: createPublicKey(key), ...oaep }, secret))).toEqual(
      secret,
    );
  });

  test('a vault that echoes no nonce is accepted, and that is told', async () => {
    const silent = await services.listen(vault(fixture, roles, { echoNonce: false }));
    const created = await call(
      `${silent}/keys/k/create?api-version=7.4`,
      'POST',
      {
        kty: 'RSA-HSM',
        attributes: { exportable: true },
        release_policy: { data: toBase64Url(releasePolicyBytes(policy)) },
      },
      'owner',
    );
    const key = created.body.key as { kid: string; n: string; e: string };
    const [, , keyName = '', keyVersion = ''] = new URL(key.kid).pathname.split('/');
    const { body } = await call(
      `${silent}/keys/k/${keyVersion}/release?api-version=7.4`,
      'POST',
      { target: jwt, nonce: 'n1', enc: 'RSA_AES_KEY_WRAP_256' },
      'trainer',
    );
    const base = options();
    const opened = await openRelease(String(body.value), {
      ...base,
      expected: { ...base.expected, keyName, keyVersion, key: { kty: 'RSA', n: key.n, e: key.e } },
    });
    expect(opened.nonceEchoed).toBe(false);
  });

  const refused = (failure: string) =>
    expect.objectContaining({ code: 'RELEASE_DENIED', failures: [failure], message: expect.stringContaining(failure) });

  // One good reply, one expectation changed.
  test.each<[string, (o: ReturnType<typeof options>) => ReturnType<typeof options>]>([
    ['certificates lead to a pinned root', (o) => ({ ...o, trust: { vaultRoots: ['00'.repeat(32)] } })],
    ['certificates are current', (o) => ({ ...o, at: new Date('2090-01-01') })],
    ['nonce is the one sent', (o) => ({ ...o, nonce: 'other' })],
    ['sealed to the transfer key', (o) => ({ ...o, transferKid: 'HCLEkPub' })],
    [
      'release policy is the one agreed on',
      (o) => ({ ...o, expected: { ...o.expected, policySha256: '00'.repeat(32) } }),
    ],
    [
      'public half is the one agreed on',
      (o) => ({ ...o, expected: { ...o.expected, key: { ...o.expected.key, e: 'Aw' } } }),
    ],
  ])('a reply is refused when not: %s', async (failure, change) => {
    const { body } = await ask();
    let decrypted = 0;
    const changed = change({
      ...options(),
      decrypt: async () => {
        decrypted++;
        return new Uint8Array(32);
      },
    });
    await expect(openRelease(String(body.value), changed)).rejects.toThrow(refused(failure));
    expect(decrypted).toBe(0);
  });

  test('a reply of another vault or key names every difference', async () => {
    const { body } = await ask();
    const o = options();
    const elsewhere = { ...o, expected: { ...o.expected, vaultHost: 'kv-other.vault.azure.net' } };
    await expect(openRelease(String(body.value), elsewhere)).rejects.toMatchObject({
      code: 'RELEASE_DENIED',
      failures: ['certificate is of the vault', 'request names the key version', 'key is the one asked for'],
    });
  });

  test('any altered byte of the signed part is refused', async () => {
    const [header = '', payload = '', signature = ''] = String((await ask()).body.value).split('.');
    const bytes = fromBase64(payload);
    const text = new TextDecoder().decode(bytes).replace('"nonce":"n1"', '"nonce":"n2"');
    const altered = `${header}.${toBase64Url(new TextEncoder().encode(text))}.${signature}`;
    await expect(openRelease(altered, { ...options(), nonce: 'n2' })).rejects.toThrow(refused('signature is valid'));
  });

  test('no altered byte of a reply gets through', async () => {
    const parts = String((await ask()).body.value)
      .split('.')
      .map((part) => fromBase64(part));
    const byte = fc
      .nat({ max: 2 })
      .chain((part) =>
        fc.tuple(fc.constant(part), fc.nat({ max: (parts[part]?.length ?? 1) - 1 }), fc.nat({ max: 7 })),
      );
    await fc.assert(
      fc.asyncProperty(byte, async ([part, at, bit]) => {
        const altered = parts.map((bytes, i) =>
          i === part ? bytes.map((value, j) => (j === at ? value ^ (1 << bit) : value)) : bytes,
        );
        const reply = altered.map((bytes) => toBase64Url(bytes)).join('.');
        await expect(openRelease(reply, options())).rejects.toMatchObject({
          code: expect.stringMatching(/^(RELEASE_DENIED|EVIDENCE_MALFORMED)$/),
        });
      }),
      { numRuns: 60 },
    );
  });

  test('a denial that may pass is told from one that does not', () => {
    expect(isTransientDenial('Target environment attestation statement cannot be verified.')).toBe(true);
    expect(isTransientDenial('Target environment attestation does not meet key release policy requirements.')).toBe(
      false,
    );
  });

  test('a released key that is not the one agreed on is refused after opening', async () => {
    // The vault swaps the wrapped key for another that it wrapped well: only the key itself shows it.
    const other = await call(
      `${vaultUrl}/keys/other/create?api-version=7.4`,
      'POST',
      {
        kty: 'RSA-HSM',
        attributes: { exportable: true },
        release_policy: { data: toBase64Url(releasePolicyBytes(policy)) },
      },
      'owner',
    );
    const path = new URL((other.body.key as { kid: string }).kid).pathname;
    const [mine, theirs] = await Promise.all([ask(), ask({}, 'trainer', path)]);
    const payloadOf = (value: unknown) =>
      JSON.parse(new TextDecoder().decode(fromBase64(String(value).split('.')[1] ?? '')));
    const payload = payloadOf(mine.body.value);
    payload.response.key.key.key_hsm = payloadOf(theirs.body.value).response.key.key.key_hsm;
    const header = String(mine.body.value).split('.')[0] ?? '';
    const signed = `${header}.${toBase64Url(new TextEncoder().encode(JSON.stringify(payload)))}`;
    const reply = `${signed}.${toBase64Url(sign('sha256', Buffer.from(signed), fixture.vaultSigner.privateKey))}`;
    await expect(openRelease(reply, options())).rejects.toMatchObject({
      code: 'RELEASE_DENIED',
      message: 'the released key is not the one agreed on',
    });
  });

  test('a release sealed to another machine does not open', async () => {
    const { body } = await ask();
    const decrypt = async () => new Uint8Array(32);
    await expect(openRelease(String(body.value), { ...options(), decrypt })).rejects.toMatchObject({
      code: 'RELEASE_DENIED',
      message: 'the released key does not open',
    });
  });

  test('an algorithm that means SHA-1 is given when asked for, and refused here', async () => {
    const { status, body } = await ask({ enc: undefined });
    expect(status).toBe(200);
    await expect(openRelease(String(body.value), options())).rejects.toMatchObject({
      failures: ['request has the algorithm asked for', 'sealed with the algorithm asked for'],
    });
  });

  test('without a version the reply echoes what was asked, and is refused', async () => {
    const { body } = await ask({}, 'trainer', '/keys/training-key-1');
    await expect(openRelease(String(body.value), options())).rejects.toThrow(refused('request names the key version'));
  });

  test.each([
    ['no role', {}, 'stranger', 'ForbiddenByRbac'],
    ['the owner has no release role either', {}, 'owner', 'ForbiddenByRbac'],
    ['a token that is none', { target: 'a.b.c' }, 'trainer', 'AccessDenied'],
  ])('the vault refuses: %s', async (_, more, bearer, innerCode) => {
    const { status, body } = await ask(more, bearer);
    expect(status).toBe(403);
    expect(body.error).toMatchObject({ code: 'Forbidden', innererror: { code: innerCode } });
  });

  test('the vault refuses an altered token with the text that may pass by itself', async () => {
    const { status, body } = await ask({ target: `${jwt.slice(0, -6)}AAAAAA` });
    expect(status).toBe(403);
    expect(body.error).toMatchObject({ message: 'Target environment attestation statement cannot be verified.' });
  });
});
