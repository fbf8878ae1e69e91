import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TokenCredential } from '@azure/core-auth';
import { attestationService } from '../../emulator/attestation-service.ts';
import { emulatedEventLog } from '../../emulator/event-log.ts';
import { rootFingerprint } from '../../emulator/service-pki.ts';
import { createKey, updateKey } from '../../emulator/vault-keys.ts';
import { openVaultState } from '../../emulator/vault-state.ts';
import { toBase64Url } from '../../runtime/crypto/bytes.ts';
import { buildReleasePolicy, releasePolicyBytes } from '../../runtime/keys/release-policy.ts';
import type { Tpm } from '../../runtime/tpm/tpm.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import type { CaptureOptions } from '../../scripts/live/capture.ts';
import type { CaptureInputs, KeyVersion } from '../../scripts/live/step.ts';
import {
  AUTHORITY,
  attest,
  createFixture,
  type Fixture,
  guestRequest,
  NOW,
  Services,
  VAULT_HOST,
  vault,
} from '../emulator/services.ts';
import { SmallAzure } from '../emulator/small-azure.ts';
import { VM_ID } from '../runtime/attestation/machine.ts';

const DENYING = 'https://madenies.neu.attest.azure.net';
const ECHOING = 'https://maechoes.neu.attest.azure.net';
const DENY_ALL = `version=1.0;
authorizationrules
{
  [type=="secureboot", value==true] => deny();
  => permit();
};
issuancerules
{
};
`;
/** A machine, its firmware and the services around it, with everything prepared that a whole capture wants. */
export interface EmulatedPlace {
  readonly azure: SmallAzure;
  readonly trust: TrustAnchors;
  readonly inputs: CaptureInputs;
  readonly tpm: Tpm;
  options(more?: Partial<CaptureOptions>): CaptureOptions;
  stop(): Promise<void>;
}

export async function createEmulatedPlace(): Promise<EmulatedPlace> {
  const fixture = await createFixture();
  const guest = await guestRequest(fixture);
  const expiredToken = await expired(fixture, guest);
  await guest.ephemeral.close();
  const { tpm } = guest;
  const trust = { ...fixture.machine.trust, vaultRoots: [rootFingerprint(fixture.vaultSigner)] };

  const azure = new SmallAzure([...[AUTHORITY, DENYING, ECHOING].map((url) => new URL(url).host), VAULT_HOST]);
  for (const authority of [AUTHORITY, ECHOING]) await addAttestation(azure, fixture, authority);
  await addAttestation(azure, fixture, DENYING, DENY_ALL);
  const { handler, keys } = await vaultWithKeys(fixture);
  await azure.add({ service: 'vault', hosts: [VAULT_HOST], handler });
  const { vcek, ask, ark, tcb } = fixture.machine.pki;
  const tcbm = [tcb.microcode, tcb.snp, 0, 0, 0, 0, tcb.tee, tcb.bootloader];
  await azure.addMetadata({
    vmId: VM_ID,
    certification: () => ({
      vcekCert: vcek,
      certificateChain: ask + ark,
      tcbm: tcbm.map((part) => part.toString(16).padStart(2, '0')).join(''),
    }),
  });

  const inputs: CaptureInputs = {
    authority: AUTHORITY,
    denyingAuthority: DENYING,
    echoingAuthority: ECHOING,
    vaultHost: VAULT_HOST,
    ...keys,
    credential: credentialOf('trainer'),
    credentialWithoutRole: credentialOf('stranger'),
    expiredToken,
    changeKeys: true,
  };
  return {
    azure,
    trust,
    inputs,
    tpm,
    options: (more = {}) => ({
      out: join(mkdtempSync(join(tmpdir(), 'live-')), 'capture'),
      tpm,
      network: azure.network,
      trust,
      now: () => new Date(),
      readEventLog: async () => emulatedEventLog(),
      packageVersion: '0.0.0',
      inputs,
      ...more,
    }),
    stop: async () => {
      await azure.stop();
      await guest.close();
    },
  };
}

async function addAttestation(azure: SmallAzure, fixture: Fixture, authority: string, policy?: string): Promise<void> {
  const handler = attestationService({
    authority,
    trust: fixture.machine.trust,
    signer: fixture.tokenSigner,
    vtpmAuthority: fixture.vtpmAuthority.chain[0] ?? '',
    clock: () => NOW,
    ...(policy === undefined ? {} : { policy }),
  });
  await azure.add({ service: 'attestation', hosts: [new URL(authority).host], handler });
}

/** A token that this service signed nine hours ago. */
async function expired(fixture: Fixture, guest: Awaited<ReturnType<typeof guestRequest>>): Promise<string> {
  const nineHoursAgo = NOW.getTime() / 1000 - 9 * 3600;
  const services = new Services();
  const url = await services.listen(
    attestationService({
      authority: AUTHORITY,
      trust: fixture.machine.trust,
      signer: fixture.tokenSigner,
      clock: () => NOW,
      alterClaims: (claims) => ({ ...claims, iat: nineHoursAgo, nbf: nineHoursAgo, exp: nineHoursAgo + 8 * 3600 }),
    }),
  );
  try {
    return await attest(url, guest.request, guest.ephemeral);
  } finally {
    await services.close();
  }
}

async function vaultWithKeys(fixture: Fixture) {
  const state = openVaultState(mkdtempSync(join(tmpdir(), 'vault-')));
  const otherVm = '00000000-0000-4000-8000-000000000000';
  const seconds = Math.floor(NOW.getTime() / 1000);
  const make = async (name: string, vmId = VM_ID, attributes: object = {}): Promise<KeyVersion> => {
    const policy = releasePolicyBytes(buildReleasePolicy({ authority: AUTHORITY, vmIds: [vmId] }));
    const key = await createKey(
      state,
      name,
      {
        kty: 'RSA-HSM',
        key_size: 2048,
        key_ops: ['wrapKey'],
        attributes: { exportable: true, ...attributes },
        release_policy: { data: toBase64Url(policy), immutable: true },
      },
      NOW,
    );
    return { name, version: key.versions.at(-1)?.version ?? '' };
  };
  const keys = {
    key: await make('training-key-1'),
    keyOfAnotherPolicy: await make('other-machine', otherVm),
    disabledKey: await make('disabled'),
    expiredKey: await make('expired', VM_ID, { exp: seconds - 60 }),
  };
  const disabled = state.get('disabled');
  const [version] = disabled?.versions ?? [];
  if (disabled !== undefined && version !== undefined) {
    state.put(updateKey(disabled, version, { body: { attributes: { enabled: false } }, versioned: true, now: NOW }));
  }
  return { handler: vault(fixture, { trainer: ['get', 'create', 'release'], stranger: [] }, { state }), keys };
}

/** The vault of these tests takes the name of a caller as its token. */
function credentialOf(name: string): TokenCredential {
  return { getToken: async () => ({ token: name, expiresOnTimestamp: Number.MAX_SAFE_INTEGER }) };
}
