import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAmdPki, issueRevocationList } from '../../emulator/amd-pki.ts';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { revocationListBlob } from '../../runtime/catalogue.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { agreementStatement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement } from '../../runtime/statements/dsse.ts';
import { readAgreement } from '../../scripts/run/approve.ts';
import { type Ended, start } from './cli-process.ts';
import { opened, type Place, startPlace, train } from './place.ts';

const BLOB = revocationListBlob('Milan');

let place: Place;
let store: BlobStore;
/** The agreement, but for the list that it requires. */
let requiring: Uint8Array;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 1 }, maxRuns: 5 });
  const { network, deployment, state } = place.emulator;
  expect(state.amd.generation).toBe('Milan');
  store = blobStore(network, managedIdentity(network, OPERATOR_CLIENT_ID), deployment.storage.blobEndpoint, 'trainer');
  const agreement = readAgreement(place.agreement);
  const environment = { ...agreement.environment, revocationList: 'required' } as const;
  requiring = serialiseEnvelope(signStatement(agreementStatement({ ...agreement, environment }), [place.keys.signing]));
});
afterAll(() => place?.stop());

/** What a run is refused with; nobody outside the machine may have been asked for a token or a key. */
async function refusal(agreement: Uint8Array): Promise<readonly string[]> {
  const seen = place.emulator.requests.length;
  const refused = await train(place, agreement).catch(
    (error: unknown) => error as { code: string; failures: readonly string[] },
  );
  const asked = place.emulator.requests.slice(seen).map(({ service }) => service);
  expect(asked.filter((service) => service === 'vault' || service === 'attestation')).toEqual([]);
  expect(refused).toMatchObject({ code: 'ATTESTATION_REJECTED' });
  return (refused as { failures: readonly string[] }).failures;
}

test('with a list required and none there, the vault is never asked', async () => {
  expect(await refusal(requiring)).toEqual(['revocation list is shown']);
});

test('a list that names the chip is heeded even where none is required', async () => {
  const { amd } = place.emulator.state;
  await store.put(BLOB, issueRevocationList(amd, { revoked: [amd.vcek] }));
  expect(await refusal(place.agreement)).toEqual(['no certificate of the chain is revoked']);
});

test('storage cannot make a list up, nor keep an old one in use', async () => {
  const { amd } = place.emulator.state;
  const nextUpdate = new Date(Date.now() - 1000);
  await store.put(BLOB, issueRevocationList({ ...amd, arkKey: amd.askKey }, { nextUpdate }));
  expect(await refusal(requiring)).toEqual([
    'revocation list is signed by the ark',
    'revocation list is current at that time',
  ]);
});

describe('ctrain publish-revocation-list', () => {
  const publish = async (name: string, list: Uint8Array, chain: string): Promise<Ended> => {
    await writeFile(join(place.dir, name), list);
    await writeFile(join(place.dir, 'chain.pem'), chain);
    const deployment = ['--deployment', place.emulator.deploymentFile];
    return start(place.dir, 'publish-revocation-list', '--crl', name, '--chain', 'chain.pem', ...deployment).ended;
  };

  test('refuses what every trainer would refuse, and leaves the store alone', async () => {
    const { amd } = place.emulator.state;
    const before = (await store.properties(BLOB))?.etag;
    const old = issueRevocationList(
      { ...amd, arkKey: amd.askKey },
      { nextUpdate: new Date('2026-01-01T00:00:00Z'), thisUpdate: new Date('2025-12-01T00:00:00Z') },
    );
    expect(await publish('old.crl', old, amd.ask + amd.ark)).toMatchObject({
      code: 5,
      err: expect.stringContaining('old.crl: is not signed by the root of Milan; ran out at 2026-01-01T00:00:00.000Z'),
    });
    const stranger = await createAmdPki('Milan', { modulusLength: 2048 });
    expect(await publish('own.crl', issueRevocationList(stranger), stranger.ark)).toMatchObject({
      code: 5,
      err: expect.stringContaining('own.crl: found no pinned root of Milan in the --chain files'),
    });
    expect(await publish('none.crl', Uint8Array.of(1), amd.ark)).toMatchObject({
      code: 2,
      err: expect.stringContaining('none.crl: revocation list is neither DER nor one PEM block'),
    });
    expect(await publish('good.crl', issueRevocationList(amd), 'nothing')).toMatchObject({
      code: 2,
      err: expect.stringContaining('chain.pem: found no certificates, wanted PEM'),
    });
    expect((await store.properties(BLOB))?.etag).toBe(before);
  });

  test('a clean list lets machines train, and its receipt is checked with --crl', async () => {
    const { amd } = place.emulator.state;
    const { code, out, err } = await publish('Milan.crl', issueRevocationList(amd), amd.ask + amd.ark);
    expect({ code, out: out.replace(/until .*/, 'until') }, err).toEqual({
      code: 0,
      out: 'revocation/Milan.crl uploaded: 0 revoked, good until\n',
    });
    const runId = await train(place, requiring);
    await opened(place, runId);
    const roots = place.emulator.deployment.emulator?.rootsFile ?? '';
    const verify = (...args: readonly string[]) =>
      start(place.dir, 'verify', `models/${runId}`, '--emulator-roots', roots, ...args).ended;
    expect(await verify()).toMatchObject({ code: 10, out: expect.stringContaining('revocation list is shown') });
    expect(await verify('--crl', 'Milan.crl')).toMatchObject({ code: 12 });
    await writeFile(join(place.dir, 'revoking.crl'), issueRevocationList(amd, { revoked: [amd.ask] }));
    expect(await verify('--crl', 'Milan.crl', '--crl', 'revoking.crl')).toMatchObject({
      code: 10,
      out: expect.stringContaining('no certificate of the chain is revoked'),
    });
    expect((await readFile(join(place.dir, 'Milan.crl'))).length).toBeGreaterThan(300);
  });
});
