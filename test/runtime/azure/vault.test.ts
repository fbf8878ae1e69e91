import { afterAll, beforeAll, expect, test } from 'vitest';
import { HttpFailure, jsonHandler } from '../../../emulator/json-http.ts';
import { managedIdentity } from '../../../runtime/azure/identity.ts';
import { vaultClient } from '../../../runtime/azure/vault.ts';
import { OPERATOR, SmallAzure } from '../../emulator/small-azure.ts';

const HOST = 'kv-owner.vault.azure.net';
const REQUEST = { vaultHost: HOST, keyName: 'k', keyVersion: '0'.repeat(32), token: 'eyJ.eyJ.x', nonce: 'n' };
const UNVERIFIABLE = 'Target environment attestation statement cannot be verified.';
const NOT_MET = 'Target environment attestation does not meet key release policy requirements.';
const UNWRAP = `/keys/k/${'0'.repeat(32)}/unwrapkey`;
/** What unwrapping was asked for. */
const unwrapped: string[] = [];
const azure = new SmallAzure([HOST]);
/** Refusals that the vault has left; then it releases. */
let refusals: string[] = [];
let asked = 0;

beforeAll(async () => {
  await azure.addMetadata();
  const handler = jsonHandler(async ({ authorization, path, query, json }) => {
    if (authorization === undefined) {
      const challenge =
        'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"';
      throw new HttpFailure(401, 'Unauthorized', 'no token', { headers: { 'www-authenticate': challenge } });
    }
    asked++;
    const refusal = refusals.shift();
    if (refusal !== undefined) throw new HttpFailure(403, 'Forbidden', refusal, { innerCode: 'AccessDenied' });
    if (path !== UNWRAP) return { value: 'a.b.c' };
    const { alg, value } = json();
    unwrapped.push(`${alg} ${value} ${query.get('api-version')}`);
    if (value === 'AAAA') throw new HttpFailure(400, 'BadParameter', 'The parameter is incorrect.');
    return { kid: `https://${HOST}${UNWRAP}`, value: 'AQID' };
  });
  await azure.add({ service: 'vault', hosts: [HOST], handler });
});
afterAll(() => azure.stop());

function release(...left: readonly string[]): Promise<string> {
  refusals = [...left];
  asked = 0;
  return vaultClient(azure.network, managedIdentity(azure.network, OPERATOR.clientId), HOST).release(REQUEST);
}

test('a vault that cannot verify a token just now is asked again', async () => {
  await expect(release(UNVERIFIABLE, UNVERIFIABLE)).resolves.toBe('a.b.c');
  expect(asked).toBe(3);
});

test('one that goes on so may be asked later, with a new token', async () => {
  await expect(release(UNVERIFIABLE, UNVERIFIABLE, UNVERIFIABLE, UNVERIFIABLE)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringContaining(UNVERIFIABLE),
  });
  expect(asked).toBe(3);
});

test('a token that does not meet the policy is refused at once', async () => {
  await expect(release(NOT_MET)).rejects.toMatchObject({
    code: 'RELEASE_DENIED',
    message: expect.stringContaining(NOT_MET),
  });
  expect(asked).toBe(1);
});

test('a vault unwraps for whoever has the role, by REST', async () => {
  const client = vaultClient(azure.network, managedIdentity(azure.network, OPERATOR.clientId), HOST);
  const unwrap = (bytes: Uint8Array) => client.unwrapKey('k', '0'.repeat(32), bytes);
  refusals = [];
  expect(await unwrap(Uint8Array.of(255, 255, 255))).toEqual(Uint8Array.of(1, 2, 3));
  expect(unwrapped).toEqual(['RSA-OAEP-256 ____ 7.4']);
  expect(await unwrap(new Uint8Array(3))).toBeUndefined();
  refusals = ['Caller is not authorized to perform action on resource.'];
  await expect(unwrap(new Uint8Array(3))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('Caller is not authorized'),
  });
});
