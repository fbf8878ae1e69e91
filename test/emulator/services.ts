import { mkdtempSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vcekChain } from '../../emulator/amd-pki.ts';
import { attestationService, signingKeys } from '../../emulator/attestation-service.ts';
import { buildHclReport, type HardwareChanges } from '../../emulator/hardware.ts';
import type { RequestHandler } from '../../emulator/json-http.ts';
import {
  createTokenSigner,
  createVaultSigner,
  createVtpmAuthority,
  issueAkCertificate,
} from '../../emulator/service-pki.ts';
import { type VaultAction, type VaultServiceOptions, vaultService } from '../../emulator/vault-service.ts';
import { openVaultState } from '../../emulator/vault-state.ts';
import { SoftwareTpm } from '../../emulator/vtpm/software-tpm.ts';
import {
  type AzureGuestRequest,
  buildAzureGuestRequest,
  openAzureGuestResponse,
} from '../../runtime/attestation/azure-guest.ts';
import { parseHclReport } from '../../runtime/attestation/hcl-report.ts';
import { importJwk } from '../../runtime/crypto/jwk.ts';
import {
  AZURE_VTPM,
  createEphemeralKey,
  type EphemeralKey,
  quotePcrs,
  readAkCertificate,
  readAkPublic,
  readHclReport,
} from '../../runtime/tpm/azure-vtpm.ts';
import { Tpm } from '../../runtime/tpm/tpm.ts';
import { createMachine, type Machine, VM_ID } from '../runtime/attestation/machine.ts';

export const AUTHORITY = 'https://maowner.neu.attest.azure.net';
export const VAULT_HOST = 'kv-owner.vault.azure.net';
export const NOW = new Date();
export const NONCE = 'nonce-of-this-exchange';
const TENANT = '11111111-2222-4333-8444-555555555555';

/** Everything an exchange needs, with real keys and a real (software) vTPM. */
export interface Fixture {
  readonly machine: Machine;
  readonly tokenSigner: ReturnType<typeof createTokenSigner>;
  readonly vaultSigner: ReturnType<typeof createVaultSigner>;
  readonly vtpmAuthority: ReturnType<typeof createVtpmAuthority>;
}

export async function createFixture(): Promise<Fixture> {
  return {
    machine: await createMachine(),
    tokenSigner: createTokenSigner(AUTHORITY, NOW),
    vaultSigner: createVaultSigner(VAULT_HOST, NOW),
    vtpmAuthority: createVtpmAuthority(NOW),
  };
}

/** What a guest on this machine would send, and the key that opens the answer. */
export async function guestRequest(
  { machine, vtpmAuthority }: Fixture,
  changes: Partial<HardwareChanges> = {},
): Promise<{ request: AzureGuestRequest; ephemeral: EphemeralKey; tpm: Tpm; close: () => Promise<void> }> {
  const { akKey, ekKey, pki, ak } = machine;
  const certificate = new Uint8Array(4096);
  certificate.set(issueAkCertificate(vtpmAuthority, importJwk(akKey), VM_ID, NOW));
  const software = new SoftwareTpm({
    akKey: ak,
    nv: new Map([
      [AZURE_VTPM.hclReportIndex, buildHclReport({ akKey, ekKey, vmId: VM_ID, pki, changes })],
      [AZURE_VTPM.akCertificateIndex, certificate],
    ]),
  });
  const transport = software.connect();
  const tpm = new Tpm(transport);
  const report = parseHclReport(await readHclReport(tpm));
  const ephemeral = await createEphemeralKey(tpm);
  const request: AzureGuestRequest = {
    akCertificate: await readAkCertificate(tpm),
    akPublicArea: (await readAkPublic(tpm)).publicArea,
    pcrQuote: await quotePcrs(tpm, new Uint8Array(), [0, 1, 2, 3, 4, 5, 6, 7]),
    ephemeral,
    nonce: NONCE,
    snpReport: report.snpReport,
    runtimeClaims: report.runtimeClaims,
    vcekChain: vcekChain(pki),
  };
  return { request, ephemeral, tpm, close: () => transport.close() };
}

export function attestation(fixture: Fixture): RequestHandler {
  return attestationService({
    authority: AUTHORITY,
    trust: fixture.machine.trust,
    signer: fixture.tokenSigner,
    vtpmAuthority: fixture.vtpmAuthority.chain[0] ?? '',
    clock: () => NOW,
  });
}

/** A vault where `Bearer NAME` is the caller NAME, who may do what `roles` says. */
export function vault(
  fixture: Fixture,
  roles: Readonly<Record<string, readonly VaultAction[]>>,
  more: Partial<VaultServiceOptions> = {},
): RequestHandler {
  return vaultService({
    host: VAULT_HOST,
    tenantId: TENANT,
    state: openVaultState(mkdtempSync(join(tmpdir(), 'vault-'))),
    tokenIssuers: (authority) => (authority === AUTHORITY ? signingKeys(fixture.tokenSigner) : undefined),
    authenticate: (bearer) => (bearer in roles ? { principalId: bearer } : undefined),
    authorise: (principalId, action) => roles[principalId]?.includes(action) ?? false,
    signer: fixture.vaultSigner,
    clock: () => NOW,
    ...more,
  });
}

/** Serves handlers on real sockets. */
export class Services {
  readonly #servers: Server[] = [];

  async listen(handler: RequestHandler): Promise<string> {
    const server = createServer(handler);
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

export async function call(url: string, method = 'GET', body?: unknown, bearer?: string): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: {
      'content-type': 'application/json',
      connection: 'close',
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

/** A token for this machine, by the whole exchange. */
export async function attest(base: string, request: AzureGuestRequest, ephemeral: EphemeralKey): Promise<string> {
  const answer = await call(
    `${base}/attest/AzureGuest?api-version=2022-08-01`,
    'POST',
    buildAzureGuestRequest(request),
  );
  if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
  return openAzureGuestResponse(answer.body, (cipher) => ephemeral.decrypt(cipher, 'rsaes'));
}
