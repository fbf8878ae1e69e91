import { createPrivateKey, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TokenCredential } from '@azure/core-auth';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TokenIssuer } from '../../emulator/entra.ts';
import { ROLES } from '../../emulator/roles.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { request } from '../../runtime/azure/request.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { signManifest } from '../../runtime/statements/manifest.ts';
import type { AccessEntry } from '../../scripts/run/access-log.ts';
import { readAgreement } from '../../scripts/run/approve.ts';
import { type Ended, run } from './cli-process.ts';
import { type Place, startPlace, train } from './place.ts';

let place: Place;
let runId: string;
let keyId: string;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 2 } });
  runId = await train(place);
  const [owner] = readAgreement(place.agreement).owners;
  keyId = owner === undefined ? '' : vaultKeyId(owner);
});
afterAll(() => place?.stop());

const accessLog = (...more: readonly string[]): Promise<Ended> =>
  run(place.dir, 'access-log', '--deployment', place.emulator.deploymentFile, ...more);

async function entries(...more: readonly string[]): Promise<{ code: number | null; entries: readonly AccessEntry[] }> {
  const { code, out, err } = await accessLog('--json', ...more);
  expect(err).toContain('deployment: ');
  return { code, ...(JSON.parse(out) as { entries: readonly AccessEntry[] }) };
}

test('after a run every access is explained: the release by vault and trainer, every object by both', async () => {
  const { code, entries: all } = await entries();
  expect(all.filter(({ flag, pending }) => flag !== undefined || pending !== undefined)).toEqual([]);
  expect(code).toBe(0);
  const released = all.filter(({ what }) => /KeyRelease|key\.released/.test(what));
  expect(released.map(({ source }) => source).sort()).toEqual(['trainer', 'vault']);
  for (const entry of released) expect(entry).toMatchObject({ keyId, explained: runId, outcome: 'success' });
  const machine = place.emulator.deployment.trainer.identityPrincipalId;
  expect(released.find(({ source }) => source === 'vault')?.who).toBe(machine);
  for (const { name } of place.manifest.objects) {
    expect(all).toContainEqual(
      expect.objectContaining({
        what: `object.opened ${name}`,
        keyId,
        manifest: expect.stringMatching(/^[0-9a-f]{64}$/),
      }),
    );
    expect(all).toContainEqual(
      expect.objectContaining({ what: `GetBlob /datasets/${place.prefix}/${name}`, who: machine, explained: runId }),
    );
  }
});

test('people get a table, and a last line that counts', async () => {
  const { code, out } = await accessLog('--since', '1h');
  expect(code).toBe(0);
  expect(out).toMatch(/^first at +who +what +key, manifest +explained by\n/);
  expect(out).toMatch(/ machines +vault: KeyRelease from .* run-/);
  expect(out).toMatch(/\n[0-9,]+ accesses, 0 unexplained\n$/);
  expect((await accessLog('--until', '2026-01-01T00:00:00Z')).out).toBe('0 accesses, 0 unexplained\n');
});

test('a run that is refused tells which data it was about, and is explained by itself', async () => {
  const name = `${place.prefix}/manifest.dsse.json`;
  const bytes = (await place.datasets.get(name))?.bytes ?? new Uint8Array();
  const other = { ...place.manifest, version: 7 };
  await place.datasets.put(name, serialiseEnvelope(signManifest(other, place.keys.signing)));
  await expect(train(place)).rejects.toMatchObject({ code: 'CONSENT_MISSING' });
  await place.datasets.put(name, bytes);
  const { code, entries: all } = await entries();
  expect(code).toBe(0);
  const [refused, ended] = all.filter(({ source, outcome }) => source === 'trainer' && outcome === 'failure');
  expect(refused).toMatchObject({
    what: `data.opened ${place.prefix}`,
    keyId,
    manifest: expect.stringMatching(/^[0-9a-f]{64}$/),
    explained: expect.stringMatching(/^run-/),
  });
  expect(ended).toMatchObject({ what: 'run.refused CONSENT_MISSING', explained: refused?.explained });
});

test("an owner's rotation is explained by the record they signed, to the retirement of the old version", async () => {
  const keyFile = join(place.dir, 'ctrain-key.json');
  const { signing, decryption, name } = place.keys;
  const keys = [
    { ...signing.export({ format: 'jwk' }), use: 'sig' },
    { ...decryption.export({ format: 'jwk' }), use: 'enc' },
  ];
  await writeFile(keyFile, JSON.stringify({ version: 1, name, keys }));
  const rotate = (...more: readonly string[]) =>
    run(place.dir, 'rotate-keys', '--owner-key', keyFile, '--deployment', place.emulator.deploymentFile, ...more);
  expect(await rotate()).toMatchObject({ code: 0 });
  expect(await rotate('--retire', keyId)).toMatchObject({ code: 0 });
  const { code, entries: all } = await entries();
  expect(code).toBe(0);
  const changes = all.filter(({ what }) => /^Key(Create|Update) /.test(what));
  expect(changes.map(({ what, explained }) => [what.split(' ')[0], explained])).toEqual([
    ['KeyCreate', expect.stringMatching(/^owner: rotation of /)],
    ['KeyUpdate', expect.stringMatching(/^owner: rotation of /)],
  ]);
});

/** A token of the emulator's Entra for somebody it does not know. */
function stranger(principalId: string): TokenCredential {
  const { tenantId, entraKey } = place.emulator.state;
  const issuer = new TokenIssuer(tenantId, createPrivateKey(entraKey));
  const identity = { name: 'stranger', clientId: randomUUID(), principalId };
  return {
    getToken: async (scope) => {
      const { token, expiresOn } = issuer.issue(identity, String(scope).replace(/\/\.default$/, ''));
      return { token, expiresOnTimestamp: expiresOn * 1000 };
    },
  };
}

async function grant(principalId: string, roleId: string, scope: string): Promise<void> {
  const { subscriptionId } = place.emulator.state;
  const roleDefinitionId = `/subscriptions/${subscriptionId}/providers/Microsoft.Authorization/roleDefinitions/${roleId}`;
  await request(place.context.network, {
    what: 'role',
    denied: 'CONFIG_INVALID',
    as: { credential: place.context.credential, scope: 'https://management.azure.com/.default' },
    method: 'PUT',
    url: `https://management.azure.com${scope}/providers/Microsoft.Authorization/roleAssignments/${randomUUID()}?api-version=2022-04-01`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ properties: { roleDefinitionId, principalId, principalType: 'ServicePrincipal' } }),
  });
}

/** One request about the key, by whoever, whatever comes of it. */
async function ask(credential: TokenCredential, operation: string, body: object): Promise<void> {
  await request(place.context.network, {
    what: 'misuse',
    denied: 'RELEASE_DENIED',
    as: { credential, scope: 'https://vault.azure.net/.default' },
    method: 'POST',
    url: `${keyId}/${operation}?api-version=7.4`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).catch((error: unknown) => {
    if (!(error instanceof SecureTrainingError)) throw error;
  });
}

test('misuse is flagged, and told apart from what is not', async () => {
  const { names } = place.emulator.state;
  const [reader, thief] = [randomUUID(), randomUUID()];
  const blob = `${place.prefix}/${place.manifest.objects[0]?.name}`;
  const asReader = blobStore(
    place.context.network,
    stranger(reader),
    place.emulator.deployment.storage.blobEndpoint,
    'datasets',
  );
  await expect(asReader.get(blob)).rejects.toThrow();
  await grant(reader, ROLES.storageBlobDataContributor, names.storageId);
  expect((await asReader.get(blob))?.bytes.length).toBeGreaterThan(0);
  await ask(stranger(thief), 'release', { target: 'x' });
  await ask(place.context.credential, 'unwrapkey', { alg: 'RSA-OAEP-256', value: 'AA' });
  const vault = vaultClient(place.context.network, place.context.credential, names.vaultHost);
  const name = place.emulator.deployment.owner.keyNames[0] ?? '';
  await vault.lockReleasePolicy(name, (await vault.getKey(name))?.releasePolicy?.data ?? new Uint8Array());

  const { code, entries: open } = await entries('--unexplained');
  expect(code).toBe(10);
  expect(open.map(({ source, who, flag }) => [source, who, flag])).toEqual([
    ['storage', reader, 'storage refused it'],
    ['storage', reader, 'sealed data touched by somebody who is not known'],
    ['vault', thief, "a release to another identity than the machines' (refused)"],
    ['vault', place.emulator.state.operator.principalId, 'a data key used without attestation (refused)'],
    ['vault', place.emulator.state.operator.principalId, 'a change of a data key'],
  ]);
  const people = await accessLog('--unexplained', '--known', reader);
  expect(people.code).toBe(10);
  expect(people.out).toContain('✗ a change of a data key');
  expect(people.out).toMatch(/\n[0-9,]+ accesses, 4 unexplained\n$/);
});
