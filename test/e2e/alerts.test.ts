import { createPrivateKey, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TokenCredential } from '@azure/core-auth';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TokenIssuer } from '../../emulator/entra.ts';
import { request } from '../../runtime/azure/request.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { readAgreement } from '../../scripts/run/approve.ts';
import { type Ended, run } from './cli-process.ts';
import { type Place, startPlace, train } from './place.ts';

let place: Place;
let keyId: string;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 1 } });
  await train(place);
  const [owner] = readAgreement(place.agreement).owners;
  keyId = owner === undefined ? '' : vaultKeyId(owner);
});
afterAll(() => place?.stop());

const alerts = (...more: readonly string[]): Promise<Ended> =>
  run(place.dir, 'alerts', '--deployment', place.emulator.deploymentFile, ...more);

async function fired(...more: readonly string[]) {
  const { code, out, err } = await alerts('--json', ...more);
  expect(err).toContain('deployment: ');
  const found = JSON.parse(out) as { alerts: readonly { alert: string; dimensions: Record<string, string> }[] };
  return { code, names: [...new Set(found.alerts.map(({ alert }) => alert))].sort(), alerts: found.alerts };
}

/** One request about the key by somebody whom the vault does not know. @returns its answer's code */
async function asks(principalId: string, method: 'GET' | 'POST', path: string): Promise<string> {
  const { tenantId, entraKey } = place.emulator.state;
  const issuer = new TokenIssuer(tenantId, createPrivateKey(entraKey));
  const credential: TokenCredential = {
    getToken: async (scope) => {
      const who = { name: 'stranger', clientId: randomUUID(), principalId };
      const { token, expiresOn } = issuer.issue(who, String(scope).replace(/\/\.default$/, ''));
      return { token, expiresOnTimestamp: expiresOn * 1000 };
    },
  };
  return request(place.context.network, {
    what: path,
    denied: 'RELEASE_DENIED',
    as: { credential, scope: 'https://vault.azure.net/.default' },
    method,
    url: `${keyId}${path}?api-version=7.4`,
    ...(method === 'GET' ? {} : { headers: { 'content-type': 'application/json' }, body: '{}' }),
  }).then(
    () => 'answered',
    (error: unknown) => (error as SecureTrainingError).code,
  );
}

test('what a deployment and a quiet run leave behind fires nothing', async () => {
  expect(await fired('--since', '1h')).toEqual({ code: 0, names: [], alerts: [] });
  const { out } = await alerts();
  expect(out).toMatch(/^0 alerts, of \d+ rules on TrainingSecurity, AZKVAuditLogs, StorageBlobLogs\n$/);
});

test('a stranger at the vault fires what they did, under their own name', async () => {
  const principalId = randomUUID();
  expect(await asks(principalId, 'POST', '/release')).toBe('RELEASE_DENIED');
  expect(await asks(principalId, 'POST', '/unwrapkey')).toBe('RELEASE_DENIED');
  for (let i = 0; i < 3; i++) expect(await asks(principalId, 'GET', '')).toBe('RELEASE_DENIED');
  const { code, names, alerts: found } = await fired();
  expect(code).toBe(10);
  expect(names).toEqual(['key-used-directly', 'release-refused', 'vault-denied']);
  for (const { dimensions } of found) expect(dimensions).toMatchObject({ Caller: principalId, Key: keyId });
});

test('data that was altered, and a run that is refused for it', async () => {
  const name = `${place.prefix}/${place.manifest.objects[0]?.name}`;
  const bytes = (await place.datasets.get(name))?.bytes ?? new Uint8Array();
  await place.datasets.put(
    name,
    bytes.map((byte, i) => (i === bytes.length - 20 ? byte ^ 1 : byte)),
  );
  await expect(train(place)).rejects.toBeInstanceOf(SecureTrainingError);
  await place.datasets.put(name, bytes);
  expect((await fired()).names).toEqual(expect.arrayContaining(['data-refused', 'run-refused']));
});

test('people read what happened, when, to whom, and where it is written what to do', async () => {
  const { code, out } = await alerts();
  expect(code).toBe(10);
  expect(out).toMatch(/^severity 1 {2}The vault refused to release a key\n {2}firing at \S+Z, 1 rows?, /m);
  expect(out).toContain('  docs/runbook.md#release-refused\n');
  expect(out).toMatch(/\n\d+ alerts, of \d+ rules on /);
});

test('rows of somewhere else: hostile text is shown as text, nonsense is refused by name', async () => {
  const file = join(place.dir, 'vault.json');
  const row = { OperationName: 'KeyBackup', HttpStatusCode: 200, CallerIpAddress: '\u001b[2J<b>\n', Id: 'key' };
  await writeFile(file, JSON.stringify([{ TimeGenerated: new Date().toISOString(), ...row }]));
  const { out } = await alerts('--rows', `AZKVAuditLogs=${file}`);
  expect(out).toContain('Address=?[2J<b>?');
  expect(out).toContain('1 alerts, of');
  const unknown = await alerts('--rows', `SecretTable=${file}`);
  expect(unknown.code).toBe(2);
  expect(unknown.err).toContain('--rows SecretTable=');
  expect(unknown.err).toContain('wanted one of AZKVAuditLogs=FILE');
  await writeFile(file, 'OperationName\nKeyBackup\n');
  const timeless = await alerts('--rows', `AZKVAuditLogs=${file}`);
  expect(timeless.code).toBe(2);
  expect(timeless.err).toContain('vault.json: row 1 has no TimeGenerated that is a time');
});
