import { mkdtempSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openVaultState } from '../../emulator/vault-state.ts';
import { fromBase64, toBase64Url, utf8 } from '../../runtime/crypto/bytes.ts';
import { buildReleasePolicy, releasePolicyBytes } from '../../runtime/keys/release-policy.ts';
import { type Answer, AUTHORITY, call, createFixture, type Fixture, NOW, Services, vault } from './services.ts';

const services = new Services();
const folder = mkdtempSync(join(tmpdir(), 'vault-'));
const policy = buildReleasePolicy({ authority: AUTHORITY });
const otherPolicy = buildReleasePolicy({ authority: AUTHORITY, vmIds: ['0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0'] });
const releasePolicy = (immutable: boolean, value = policy) => ({
  data: toBase64Url(releasePolicyBytes(value)),
  immutable,
});
const EXPORTABLE = {
  kty: 'RSA-HSM',
  key_size: 2048,
  key_ops: ['wrapKey'],
  attributes: { exportable: true },
  release_policy: releasePolicy(true),
};
const PLAIN = { kty: 'RSA-HSM', key_size: 2048, key_ops: ['wrapKey', 'unwrapKey'] };
let fixture: Fixture;
let base: string;
let now = NOW;

beforeAll(async () => {
  fixture = await createFixture();
  const roles = {
    admin: ['get', 'create', 'update', 'wrap', 'unwrap', 'release'],
    reader: ['get'],
    wrapper: ['get', 'create', 'update', 'wrap', 'release'],
  } as const;
  base = await services.listen(vault(fixture, roles, { state: openVaultState(folder), clock: () => now }));
}, 60_000);
afterAll(() => services.close());

const as = (method: string, path: string, body?: unknown, bearer: string | undefined = 'admin') =>
  call(`${base}${path}?api-version=7.4`, method, body, bearer);
const create = (name: string, body: object) => as('POST', `/keys/${name}/create`, body);
const version = (answer: Answer) => new URL((answer.body.key as { kid: string }).kid).pathname;
const bad = (message: string) => ({ status: 400, body: { error: { code: 'BadParameter', message } } });
const forbidden = (innerCode: string) => ({
  status: 403,
  body: { error: { code: 'Forbidden', innererror: { code: innerCode } } },
});

describe('who asks', () => {
  test('is told where to get a token, before anything is read', async () => {
    const response = await fetch(`${base}/keys/k/?api%2Dversion=2025-07-01`);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toMatch(
      /^Bearer authorization="https:\/\/login\.microsoftonline\.com\/[0-9a-f-]{36}", resource="https:\/\/vault\.azure\.net"$/,
    );
    expect((await as('GET', '/keys/k', undefined, 'nobody')).status).toBe(401);
  });

  test('needs the role for what is asked', async () => {
    expect(await as('POST', '/keys/k/create', PLAIN, 'reader')).toMatchObject(forbidden('ForbiddenByRbac'));
    expect(await as('GET', '/keys/absent', undefined, 'reader')).toMatchObject({
      status: 404,
      body: { error: { code: 'KeyNotFound' } },
    });
  });

  test('needs an api-version and an operation that exists', async () => {
    expect(await call(`${base}/keys/k`, 'GET', undefined, 'admin')).toMatchObject(
      bad('api-version must be specified.'),
    );
    expect((await as('POST', '/keys/k/backup', {})).status).toBe(404);
    expect((await as('GET', '/secrets/k')).status).toBe(404);
  });
});

describe('create and get', () => {
  test('gives back the shapes of the service, the policy rewritten', async () => {
    const sent = JSON.stringify({
      anyOf: [{ allOf: [{ equals: true, claim: 'secureboot' }], authority: AUTHORITY }],
      version: '1.0.0',
    });
    const created = await create('rewritten', {
      ...EXPORTABLE,
      release_policy: { data: toBase64Url(utf8(sent)) },
      tags: { owner: 'a' },
    });
    expect(created).toMatchObject({
      status: 200,
      body: {
        key: { kty: 'RSA-HSM', key_ops: ['wrapKey'], e: 'AQAB' },
        attributes: { enabled: true, exportable: true, recoverableDays: 90 },
        tags: { owner: 'a' },
        release_policy: { contentType: 'application/json; charset=utf-8', immutable: false },
      },
    });
    const { data } = created.body.release_policy as { data: string };
    expect(new TextDecoder().decode(fromBase64(data))).toBe(
      `{"version":"1.0.0","anyOf":[{"authority":"${AUTHORITY}","allOf":[{"claim":"secureboot","equals":"true"}]}]}`,
    );
    expect((await as('GET', '/keys/rewritten/')).body).toEqual(created.body);
    expect((await as('GET', version(created))).body).toEqual(created.body);
  });

  test.each([
    [{ ...EXPORTABLE, release_policy: undefined }, 'AKV.SKR.1004: Exportable keys must have release policy.'],
    [{ ...EXPORTABLE, attributes: {} }, 'AKV.SKR.1005: Non-exportable keys must not have release policy.'],
    [{ ...EXPORTABLE, kty: 'RSA' }, 'AKV.SKR.1006: Exportable software keys are not supported.'],
    [{ ...PLAIN, key_size: 1024 }, 'Key size 1024 is not supported.'],
    [{ ...PLAIN, key_ops: ['everything'] }, 'Property key_ops is invalid.'],
    [{ ...EXPORTABLE, release_policy: { data: toBase64Url(utf8('{}')) } }, 'policy.version: wanted "1.0.0"'],
  ])('refuses %#', async (body, message) => {
    expect(await create('refused', body)).toMatchObject(bad(message));
    expect((await as('GET', '/keys/refused')).status).toBe(404);
  });

  // The Python and the JavaScript SDK leave the version's place empty; the slash stays.
  test('an empty version is the newest one', async () => {
    const key = await create('versionless', EXPORTABLE);
    expect((await as('GET', '/keys/versionless/')).body).toEqual(key.body);
    expect((await as('PATCH', '/keys/versionless/', { tags: { a: 'b' } })).status).toBe(200);
    const value = toBase64Url(utf8('content key'));
    const wrapped = await as('POST', '/keys/versionless//wrapkey', { alg: 'RSA-OAEP-256', value });
    expect(wrapped).toMatchObject({ status: 200, body: { kid: (key.body.key as { kid: string }).kid } });
    expect(await as('POST', '/keys/versionless//release', { target: 'a.b.c' })).toMatchObject(
      forbidden('AccessDenied'),
    );
    expect(await as('POST', '/keys/versionless/release', { target: 'a.b.c' })).toMatchObject(forbidden('AccessDenied'));
  });

  test.each([
    ['with padding', (text: string) => `${text}${'='.repeat((4 - (text.length % 4)) % 4)}`],
    ['in the standard alphabet', (text: string) => Buffer.from(text, 'base64url').toString('base64')],
  ])('takes a policy and a value %s', async (name, spell) => {
    const { data, immutable } = EXPORTABLE.release_policy;
    const sent = { ...EXPORTABLE, release_policy: { data: spell(data), immutable, contentType: 'application/json' } };
    const path = version(await create(`spelled-${name.replaceAll(' ', '-')}`, sent));
    // 62 and 63, where the alphabets differ.
    const value = spell(toBase64Url(Uint8Array.of(0xfb, 0xff, 0xfe, 1)));
    expect((await as('POST', `${path}/wrapkey`, { alg: 'RSA-OAEP', value })).status).toBe(200);
  });

  test('a second version keeps the first, and neither changes the policy', async () => {
    const first = await create('twice', EXPORTABLE);
    const second = await create('twice', EXPORTABLE);
    expect(version(second)).not.toBe(version(first));
    expect(version(await as('GET', '/keys/twice'))).toBe(version(second));
    expect((await as('GET', version(first))).status).toBe(200);
    expect((await as('GET', '/keys/twice/versions')).body.value).toHaveLength(2);
    expect(await create('twice', { ...EXPORTABLE, release_policy: releasePolicy(true, otherPolicy) })).toMatchObject(
      bad('AKV.SKR.1020: Immutable Key Release Policy cannot be modified.'),
    );
    expect(await create('twice', PLAIN)).toMatchObject(
      bad('AKV.SKR.1014: Cannot modify the exportable state of a key.'),
    );
  });
});

describe('update', () => {
  test('locks a policy, and then nobody changes it', async () => {
    const created = await create('locked', { ...EXPORTABLE, release_policy: releasePolicy(false) });
    expect(await as('PATCH', '/keys/locked', { release_policy: releasePolicy(false, otherPolicy) })).toMatchObject({
      status: 200,
    });
    expect(await as('PATCH', '/keys/locked', { release_policy: releasePolicy(true) })).toMatchObject({
      body: { release_policy: { immutable: true } },
    });
    // The same again is no change: locking can be repeated.
    expect((await as('PATCH', '/keys/locked', { release_policy: releasePolicy(true) })).status).toBe(200);
    for (const change of [releasePolicy(false), releasePolicy(true, otherPolicy)]) {
      expect(await as('PATCH', '/keys/locked', { release_policy: change })).toMatchObject(
        bad('AKV.SKR.1020: Immutable Key Release Policy cannot be modified.'),
      );
    }
    expect(await as('PATCH', version(created), { release_policy: releasePolicy(true) })).toMatchObject(
      bad('AKV.SKR.1016: Key Release Policy can only be set on versionless key.'),
    );
    expect(await as('PATCH', '/keys/locked', { attributes: { exportable: false } })).toMatchObject(
      bad('AKV.SKR.1003: The exportable attribute of an existing key cannot be changed.'),
    );
  });

  // The hole that the owner's log is watched for: not even an immutable policy closes it.
  test('key_ops can be added even to a locked key', async () => {
    await create('ops', EXPORTABLE);
    expect((await as('PATCH', '/keys/ops', { key_ops: ['wrapKey', 'unwrapKey'] })).body.key).toMatchObject({
      key_ops: ['wrapKey', 'unwrapKey'],
    });
  });
});

describe('wrap and unwrap', () => {
  const value = toBase64Url(utf8('content key'));
  const operate = (path: string, operation: string, text = value, alg = 'RSA-OAEP-256') =>
    as('POST', `${path}/${operation}`, { alg, value: text });

  test('are each other’s inverse', async () => {
    const path = version(await create('wrapping', PLAIN));
    const wrapped = await operate(path, 'wrapkey');
    expect((await operate(path, 'unwrapkey', String(wrapped.body.value))).body.value).toBe(value);
    expect(await operate(path, 'unwrapkey', value)).toMatchObject(bad('The parameter is incorrect.'));
    expect(await operate(path, 'wrapkey', value, 'RSA1_5')).toMatchObject(bad('Algorithm RSA1_5 is not supported.'));
  });

  test('unwrapping needs its role, whatever else somebody may do', async () => {
    const path = version(await create('escrow', PLAIN));
    const { body } = await operate(path, 'wrapkey');
    for (const bearer of ['reader', 'wrapper']) {
      const answer = await as('POST', `${path}/unwrapkey`, { alg: 'RSA-OAEP-256', value: body.value }, bearer);
      expect(answer).toMatchObject(forbidden('ForbiddenByRbac'));
      expect(JSON.stringify(answer.body)).not.toContain(value);
    }
  });

  test('keep to key_ops: a wrapping key opens nothing in the vault', async () => {
    const path = version(await create('wrap-only', EXPORTABLE));
    const wrapped = await operate(path, 'wrapkey');
    expect(wrapped.status).toBe(200);
    expect(await operate(path, 'unwrapkey', String(wrapped.body.value))).toMatchObject(
      forbidden('KeyOperationForbidden'),
    );
  });

  test('expiry ends wrapping only, disabling ends everything', async () => {
    const path = version(
      await create('ending', { ...PLAIN, attributes: { exp: Math.floor(NOW.getTime() / 1000) + 60 } }),
    );
    const wrapped = String((await operate(path, 'wrapkey')).body.value);
    now = new Date(NOW.getTime() + 61_000);
    expect(await operate(path, 'wrapkey')).toMatchObject(forbidden('KeyExpired'));
    expect((await operate(path, 'unwrapkey', wrapped)).status).toBe(200);
    now = NOW;
    await as('PATCH', path, { attributes: { enabled: false } });
    expect(await operate(path, 'wrapkey')).toMatchObject(forbidden('KeyDisabled'));
    expect(await operate(path, 'unwrapkey', wrapped)).toMatchObject(forbidden('KeyDisabled'));
  });
});

test('a disabled key, and one that is not exportable, are not released', async () => {
  const disabled = version(await create('disabled', EXPORTABLE));
  await as('PATCH', disabled, { attributes: { enabled: false } });
  expect(await as('POST', `${disabled}/release`, { target: 'a.b.c' })).toMatchObject(forbidden('KeyDisabled'));
  const plain = version(await create('plain', PLAIN));
  expect(await as('POST', `${plain}/release`, { target: 'a.b.c' })).toMatchObject(forbidden('KeyNotExportable'));
  expect(await as('POST', `${plain}/release`, {})).toMatchObject(bad('Property target is missing.'));
  expect(await as('POST', `${plain}/release`, { target: 'a', enc: 'X' })).toMatchObject(
    bad('Key encryption algorithm X is not supported.'),
  );
});

test('the state outlives the vault, whole, and only its owner may read it', async () => {
  const created = await create('kept', EXPORTABLE);
  const roles = { reader: ['get'], wrapper: ['get', 'create', 'update', 'wrap', 'release'] } as const;
  const again = await services.listen(vault(fixture, roles, { state: openVaultState(folder) }));
  expect((await call(`${again}/keys/kept?api-version=7.4`, 'GET', undefined, 'reader')).body).toEqual(created.body);
  expect(readdirSync(folder)).toEqual(['vault.json']);
  expect(statSync(join(folder, 'vault.json')).mode & 0o777).toBe(0o600);
});
