import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { type Emulator, type EmulatorOptions, startEmulator } from '../../emulator/start.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { grantRole, machineState, RELEASE_ROLE, startMachine } from '../../runtime/azure/resource-manager.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { type Deployment, TRAINER_BUNDLE, TRAINER_FLAGS } from '../../runtime/catalogue.ts';
import { toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { thumbprint } from '../../runtime/crypto/jwk.ts';
import { decodeReleasePolicy, releasePolicyProblems } from '../../runtime/keys/release-policy.ts';
import { writeTar } from '../../scripts/tar.ts';
import { allGone } from './processes.ts';
import { AT_ONCE } from './small-azure.ts';

const directory = mkdtempSync(join(tmpdir(), 'ctrain-start-test-'));
const serial: string[] = [];
const watchers = new Set<() => void>();
let emulator: Emulator;

function options(behaviour: string): EmulatorOptions {
  const bundle = join(directory, `${behaviour.replace(' ', '-')}.tar`);
  writeFileSync(bundle, writeTar([{ name: 'behaviour', bytes: utf8(behaviour) }]));
  return {
    stateDir: join(directory, 'state'),
    bundle,
    entry: fileURLToPath(new URL('./stand-in-trainer.ts', import.meta.url)),
    rootKeyBits: 2048,
    retry: AT_ONCE,
    onSerial: (line) => {
      serial.push(line);
      for (const look of watchers) look();
    },
  };
}

/** The next line that matches, from `start` on. */
async function lineMatching(pattern: RegExp, start = 0): Promise<RegExpExecArray> {
  return new Promise((done) => {
    const look = (): void => {
      for (const line of serial.slice(start)) {
        const found = pattern.exec(line);
        if (found === null) continue;
        watchers.delete(look);
        done(found);
        return;
      }
    };
    watchers.add(look);
    look();
  });
}

async function restartWith(behaviour: string): Promise<void> {
  await emulator.stop();
  serial.length = 0;
  emulator = await startEmulator(options(behaviour));
}

const operator = () => managedIdentity(emulator.network, OPERATOR_CLIENT_ID);
const machineId = () => emulator.deployment.trainer.vmIds[0] ?? '';

beforeAll(async () => {
  emulator = await startEmulator(options('wait'));
});
afterEach(async () => {
  await emulator.machine.stop();
  serial.length = 0;
});
afterAll(async () => {
  await emulator.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('the release key is locked, exportable and good for wrapping only; its policy has no hole', async () => {
  const { vaultHost, keyNames } = emulator.deployment.owner;
  const key = await vaultClient(emulator.network, operator(), vaultHost).getKey(keyNames[0] ?? '');
  expect(key).toMatchObject({ keyType: 'RSA-HSM', keyOps: ['wrapKey'], exportable: true, enabled: true });
  expect(key?.releasePolicy?.immutable).toBe(true);
  expect(releasePolicyProblems(decodeReleasePolicy(key?.releasePolicy?.data ?? new Uint8Array(0)))).toEqual([]);
  expect(keyNames[0]).toMatch(/^training-key-[0-9a-f]{8}$/);
  expect(await vaultClient(emulator.network, operator(), vaultHost).getKey('absent')).toBeUndefined();
});

test('a release is denied to whoever lacks the role, and then to a token that is none', async () => {
  const { owner, trainer } = emulator.deployment;
  const vault = vaultClient(emulator.network, operator(), owner.vaultHost);
  const keyName = owner.keyNames[0] ?? '';
  const keyVersion = (await vault.getKey(keyName))?.version ?? '';
  const request = { vaultHost: owner.vaultHost, keyName, keyVersion, token: 'eyJ.eyJ.x', nonce: 'n' };
  const place = JSON.parse(readFileSync(join(directory, 'state', 'deployment.json'), 'utf8')) as Deployment;
  expect(place).toEqual(emulator.deployment);
  // The operator holds Crypto Officer, whose actions include release on Azure too: what stops it is the policy.
  await expect(vault.release(request)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringContaining('attestation statement cannot be verified'),
  });
  await grantRole(emulator.network, operator(), {
    scope: owner.vaultId,
    principalId: trainer.identityPrincipalId,
    roleId: RELEASE_ROLE,
  });
  await expect(vault.release({ ...request, vaultHost: 'other.vault.azure.net' })).rejects.toThrow(TypeError);
});

test('the bundle is in the store under its digest', async () => {
  const { storage, trainer } = emulator.deployment;
  const bundles = blobStore(emulator.network, operator(), storage.blobEndpoint, 'trainer');
  expect(await bundles.properties(`${trainer.bundleSha256}/${TRAINER_BUNDLE}`)).toMatchObject({ size: 2048 });
});

test('secrets of the state are readable by their owner only', () => {
  for (const file of ['state.json', 'vault/vault.json', 'blobs/tls-key.pem']) {
    expect((statSync(join(directory, 'state', file)).mode & 0o077).toString(8), file).toBe('0');
  }
  expect(readFileSync(emulator.deploymentFile, 'utf8')).not.toContain('PRIVATE');
});

test('a started machine runs the bundle with the trainer’s flags and nothing of our environment', async () => {
  await startMachine(emulator.network, operator(), machineId());
  await lineMatching(/^working/);
  expect(serial).toContain(`vm ${emulator.state.vmId}`);
  expect(serial).toContain(`flags ${TRAINER_FLAGS.join(' ')}`);
  expect((await lineMatching(/^variables (.*)/))[1]).toMatch(/^PATH( PWD)?( SHLVL)?( _)?$/);
  expect(await machineState(emulator.network, operator(), machineId())).toBe('running');
  expect(readFileSync(emulator.serialFile, 'utf8')).toContain('working');
});

test('a killed trainer is started again, its worker gone; a deallocated machine has none', async () => {
  const { boots } = emulator.machine;
  await startMachine(emulator.network, operator(), machineId());
  const [, broker, worker] = await lineMatching(/^working (\d+) (\d+)/);
  expect(emulator.machine.processId).toBe(Number(broker));
  emulator.machine.kill();
  await lineMatching(/^trainer ended: SIGKILL/);
  await allGone([Number(broker), Number(worker)]);
  await lineMatching(
    /^working/,
    serial.findIndex((line) => line.startsWith('trainer ended')),
  );
  expect(emulator.machine.boots - boots).toBe(1);
  await emulator.machine.stop();
  expect([emulator.machine.state, emulator.machine.processId]).toEqual(['deallocated', undefined]);
});

test('each boot measures anew', async () => {
  const read = async (): Promise<string> => toHex(await emulator.firmware.tpm.process(PCR_READ_15)).slice(-64);
  await startMachine(emulator.network, operator(), machineId());
  await emulator.machine.reached('running');
  const fresh = await read();
  await emulator.firmware.tpm.process(PCR_EXTEND_15);
  expect(await read()).not.toBe(fresh);
  await emulator.machine.stop();
  emulator.machine.start();
  await emulator.machine.reached('running');
  expect(await read()).toBe(fresh);
});

test('keys, names and blobs outlive a restart', async () => {
  const before = emulator.deployment;
  const runs = () => blobStore(emulator.network, operator(), emulator.deployment.storage.blobEndpoint, 'runs');
  await runs().put('kept', utf8('x'));
  const kid = async () =>
    (await vaultClient(emulator.network, operator(), before.owner.vaultHost).getKey(before.owner.keyNames[0] ?? ''))
      ?.jwk;
  const key = await kid();
  await restartWith('wait');
  expect({ ...emulator.deployment, emulator: undefined }).toEqual({ ...before, emulator: undefined });
  expect((await runs().get('kept'))?.bytes).toEqual(utf8('x'));
  expect(thumbprint((await kid()) ?? { kty: 'RSA', n: '', e: '' })).toBe(
    thumbprint(key ?? { kty: 'RSA', n: '', e: '' }),
  );
});

test('a second emulator on the same state is refused', async () => {
  await expect(startEmulator(options('wait'))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `an emulator is already running on ${join(directory, 'state')}`,
  });
});

test('a refusal is not tried again: the machine powers off', async () => {
  await restartWith('exit 5');
  emulator.machine.start();
  await emulator.machine.reached('stopped');
  expect(serial.filter((line) => line.startsWith('trainer ended'))).toEqual(['trainer ended: exit code 5']);
});

test('a trainer that keeps failing is started three times more', async () => {
  await restartWith('exit 1');
  emulator.machine.start();
  await emulator.machine.reached('stopped');
  expect(serial.filter((line) => line === 'trainer ended: exit code 1')).toHaveLength(4);
  emulator.machine.start();
  await emulator.machine.reached('running');
  expect(emulator.machine.boots).toBe(2);
});

test('a trainer gives its machine back itself', async () => {
  await restartWith('deallocate');
  await startMachine(emulator.network, operator(), machineId());
  await emulator.machine.reached('deallocated');
  expect(serial.filter((line) => line.startsWith('trainer ended'))).toEqual([]);
  expect(await machineState(emulator.network, operator(), machineId())).toBe('deallocated');
});

/** TPM2_PCR_Read and TPM2_PCR_Extend of PCR 15 in the SHA-256 bank (TPM 2.0 Part 3 sections 22.4 and 22.2). */
const PCR_READ_15 = Uint8Array.from(Buffer.from('8001000000140000017e00000001000b03008000', 'hex'));
const PCR_EXTEND_15 = Uint8Array.from(
  Buffer.from(`800200000041000001820000000f0000000940000009000000000000000001000b${'ab'.repeat(32)}`, 'hex'),
);
