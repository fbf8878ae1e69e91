import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { type Emulator, startEmulator } from '../../emulator/start.ts';
import { buildAzureGuestRequest, openAzureGuestResponse } from '../../runtime/attestation/azure-guest.ts';
import { parseHclReport } from '../../runtime/attestation/hcl-report.ts';
import { attestAzureGuest } from '../../runtime/azure/attestation-client.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { fromBase64, sha256, toBase64, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { buildReleasePolicy, decodeReleasePolicy, policyDigest } from '../../runtime/keys/release-policy.ts';
import {
  createEphemeralKey,
  type EphemeralKey,
  quotePcrs,
  readAkCertificate,
  readAkPublic,
  readHclReport,
} from '../../runtime/tpm/azure-vtpm.ts';
import { Tpm } from '../../runtime/tpm/tpm.ts';

const python = fileURLToPath(new URL('../../.tools/venv/bin/python', import.meta.url));
const script = fileURLToPath(new URL('./azure_sdk.py', import.meta.url));
const NONCE = 'nonce of this release';
const BUNDLE = utf8('no bundle: no machine is started here');

function hasSdk(): boolean {
  try {
    execFileSync(python, ['-c', 'import azure.identity, azure.keyvault.keys, azure.storage.blob'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** What a machine does to get a token, and the key that opens what is released for it. */
async function attest({ firmware, network, deployment }: Emulator): Promise<{ token: string; key: EphemeralKey }> {
  const tpm = new Tpm(firmware.connect());
  const report = parseHclReport(await readHclReport(tpm));
  const key = await createEphemeralKey(tpm);
  const { vcekCert, certificateChain } = firmware.certification();
  const body = buildAzureGuestRequest({
    akCertificate: await readAkCertificate(tpm),
    akPublicArea: (await readAkPublic(tpm)).publicArea,
    pcrQuote: await quotePcrs(tpm, new Uint8Array(), [0, 1, 2, 3, 4, 5, 6, 7]),
    ephemeral: key,
    nonce: 'nonce of this token',
    snpReport: report.snpReport,
    runtimeClaims: report.runtimeClaims,
    vcekChain: vcekCert + certificateChain,
  });
  const answer = await attestAzureGuest(network, deployment.owner.attestationAuthority, body);
  return { token: await openAzureGuestResponse(answer, (cipher) => key.decrypt(cipher, 'rsaes')), key };
}

/** Runs the script in a shell that was told of the emulator in the way of the docs; opens for it what only the vTPM can. */
async function runSdk(place: object, environment: string, key: EphemeralKey): Promise<Record<string, unknown>> {
  const child = spawn('bash', ['-c', '. "$0" && exec "$@"', environment, python, script]);
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  child.stdin.write(`${JSON.stringify(place)}\n`);
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Record<string, unknown>;
    if (typeof said.open !== 'string') return said;
    const opened = await key.decrypt(fromBase64(said.open, 'ciphertext'), 'oaep-sha256');
    child.stdin.write(`${toBase64(opened)}\n`);
  }
  throw new Error(complaint);
}

describe.skipIf(!hasSdk())('the Azure SDK for Python, unchanged', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ctrain-python-test-'));
  let emulator: Emulator;
  let keyId: string;
  let key: EphemeralKey;
  let seen: Record<string, unknown>;

  beforeAll(async () => {
    const bundle = join(directory, 'bundle.tar');
    writeFileSync(bundle, BUNDLE);
    emulator = await startEmulator({ stateDir: join(directory, 'state'), bundle, rootKeyBits: 2048 });
    const { firmware, deployment, network, trust } = emulator;
    const boot = async (changes: Parameters<typeof firmware.change>[0]) => {
      firmware.change(changes);
      await firmware.boot();
      return attest(emulator);
    };
    const other = await boot({ claims: (claims) => ({ ...claims, 'x-ms-policy-hash': 'of another policy' }) });
    const genuine = await boot({});
    key = genuine.key;
    const { owner, storage } = deployment;
    const [keyName = ''] = owner.keyNames;
    const found = await vaultClient(network, managedIdentity(network, OPERATOR_CLIENT_ID), owner.vaultHost).getKey(
      keyName,
    );
    const keyVersion = found?.version ?? '';
    keyId = `https://${owner.vaultHost}/keys/${keyName}/${keyVersion}`;
    const place = {
      vault: `https://${owner.vaultHost}`,
      keyName,
      keyVersion,
      authority: owner.attestationAuthority,
      vaultRoots: trust.vaultRoots,
      blobs: storage.blobEndpoint,
      container: 'trainer',
      token: genuine.token,
      otherToken: other.token,
      nonce: NONCE,
    };
    seen = await runSdk(place, join(directory, 'state', 'operator.env'), key);
  }, 120_000);
  afterAll(async () => {
    await key?.close();
    await emulator?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('finds the key and reads its policy', () => {
    const policy = buildReleasePolicy({ authority: emulator.deployment.owner.attestationAuthority });
    expect(seen).toMatchObject({
      keyId,
      keyType: 'RSA-HSM',
      keyOperations: ['wrapKey'],
      exportable: true,
      immutable: true,
    });
    // A vault writes a policy in its own order.
    expect(policyDigest(decodeReleasePolicy(utf8(JSON.stringify(seen.policy))))).toBe(policyDigest(policy));
  });

  test('makes an exportable key with a policy of its own, and lists its versions', () => {
    expect(seen.createdVersions).toEqual([true, true]);
  });

  test('wraps by itself, and the released key opens it', () => {
    expect(seen).toMatchObject({ wrappedWith: keyId, opensWhatWasWrapped: true });
    expect(emulator.requests.filter(({ path }) => path.includes('wrapkey'))).toEqual([]);
  });

  test('gets a signed reply that says what was asked, sealed to the key of the token', () => {
    expect(seen).toMatchObject({
      request: { enc: 'RSA_AES_KEY_WRAP_256', kid: keyId, nonce: NONCE },
      sealedTo: { kid: 'TpmEphemeralEncryptionKey', alg: 'dir', enc: 'RSA_AES_KEY_WRAP_256' },
    });
  });

  test.each([
    ['policyNotMet', 'HttpResponseError', 403, 'Target environment attestation does not meet key release policy'],
    ['ownPolicyNotMet', 'HttpResponseError', 403, 'Target environment attestation does not meet key release policy'],
    ['disabledKey', 'HttpResponseError', 403, 'Operation release is not allowed on a disabled key.'],
    ['alteredToken', 'HttpResponseError', 403, 'Target environment attestation statement cannot be verified.'],
    ['unknownAlgorithm', 'HttpResponseError', 400, 'RSA_AES_KEY_WRAP_512'],
    ['noSuchKey', 'ResourceNotFoundError', 404, 'A key with (name/id) no-such-key was not found in this key vault.'],
    ['storageTokenAtVault', 'ClientAuthenticationError', 401, 'AKV10000'],
    ['noTokenAtVault', 'ClientAuthenticationError', 401, 'AKV10000'],
    ['vaultTokenAtStorage', 'ClientAuthenticationError', 401, 'Server failed to authenticate the request.'],
  ])('knows a refusal for what it is: %s', (name, type, status, message) => {
    expect(seen[name]).toEqual({ type, status, message: expect.stringContaining(message) });
  });

  test('is told where tokens come from', () => {
    const { tenantId } = emulator.deployment;
    const challenge = `Bearer authorization="https://login.microsoftonline.com/${tenantId}", resource="https://vault.azure.net"`;
    expect(seen.challenge).toEqual([401, challenge]);
  });

  test('lists and reads blobs', () => {
    const digest = toHex(sha256(BUNDLE));
    expect(seen.blob).toEqual({ name: expect.stringMatching(new RegExp(`^${digest}/`)), size: BUNDLE.length });
    expect(seen.blobSha256).toBe(digest);
  });
});
