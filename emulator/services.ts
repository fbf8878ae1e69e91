import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TrustAnchors } from '../runtime/trust.ts';
import { logFiles, loggedStorage, loggedVault } from './access-logs.ts';
import { rootKeySha256 } from './amd-pki.ts';
import { attestationService, signingKeys } from './attestation-service.ts';
import type { BlobServer } from './blobs.ts';
import { TokenIssuer } from './entra.ts';
import type { Firmware } from './firmware.ts';
import { logsService } from './logs-service.ts';
import { METADATA_HOST, metadataService } from './metadata-service.ts';
import { provisionRoles } from './provision.ts';
import { type MachineControl, RESOURCE_MANAGER_HOST, resourceManager } from './resource-manager.ts';
import { type RoleAssignment, RoleAssignments } from './roles.ts';
import { type HostContext, type HostedService, hostService, type ServiceHost } from './service-host.ts';
import { renewAkCertificate, rootFingerprint } from './service-pki.ts';
import type { EmulatorState } from './state.ts';
import { storageService } from './storage-service.ts';
import { type VaultAction, vaultService } from './vault-service.ts';
import type { VaultState } from './vault-state.ts';

export interface ServicesOptions {
  readonly stateDir: string;
  readonly state: EmulatorState;
  readonly vault: VaultState;
  readonly blobs: BlobServer;
  readonly firmware: Firmware;
  readonly machines: ReadonlyMap<string, MachineControl>;
}

export interface Services {
  readonly hosts: readonly ServiceHost[];
  /** For whoever operates: the metadata service hands out the operator's tokens. */
  readonly operatorRoutes: Readonly<Record<string, number>>;
  /** For inside the virtual machine: the metadata service hands out the trainer's tokens. */
  readonly machineRoutes: Readonly<Record<string, number>>;
}

/** Nothing has this digest: the emulator makes chips of one generation. */
const NO_ROOT = '0'.repeat(64);

/** What evidence and replies of this emulator are measured against. */
export function trustOf({ amd, vaultSigner }: EmulatorState): TrustAnchors {
  const roots = { Milan: NO_ROOT, Genoa: NO_ROOT, Turin: NO_ROOT, [amd.generation]: rootKeySha256(amd) };
  return { hardware: 'EMULATED', amdRootKeys: roots, vaultRoots: [rootFingerprint(vaultSigner)] };
}

/** Puts every service on a port of its own. */
export async function startServices(options: ServicesOptions, context: HostContext): Promise<Services> {
  const { state, firmware } = options;
  const { operator, trainer, vmId } = state;
  const issuer = new TokenIssuer(state.tenantId, createPrivateKey(state.entraKey));
  const roles = openRoles(options.stateDir, state);
  const shared = await Promise.all(
    sharedServices(options, issuer, roles).map((service) => hostService(service, context)),
  );
  const metadata = (handler: HostedService['handler']) =>
    hostService({ service: 'metadata', hosts: [METADATA_HOST], handler }, context);
  const forOperator = await metadata(metadataService({ issuer, identities: [operator] }));
  const machine = {
    vmId,
    certification: () => firmware.certification(),
    renewAkCertificate: (pem: string) => renewAkCertificate(state.vtpmAuthority, pem, vmId, new Date()),
  };
  const forMachine = await metadata(metadataService({ issuer, identities: [trainer], machine }));
  const routes = Object.assign({}, ...shared.map((host) => host.routes)) as Record<string, number>;
  return {
    hosts: [...shared, forOperator, forMachine],
    operatorRoutes: { ...routes, ...forOperator.routes },
    machineRoutes: { ...routes, ...forMachine.routes },
  };
}

function sharedServices(
  { stateDir, state, vault, blobs, firmware, machines }: ServicesOptions,
  issuer: TokenIssuer,
  roles: RoleAssignments,
): HostedService[] {
  const { names, tls, tokenSigner } = state;
  const authority = names.attestationAuthority;
  const { directory } = logFiles(stateDir);
  const mayUseKey = (principalId: string, action: VaultAction, keyName: string): boolean =>
    roles.allows(principalId, VAULT_ACTIONS[action], `${names.vaultId}/keys/${keyName}`);
  return [
    {
      service: 'attestation',
      hosts: [names.attestationHost],
      tls,
      handler: attestationService({
        authority,
        trust: trustOf(state),
        signer: tokenSigner,
        vtpmAuthority: state.vtpmAuthority.chain[0] ?? '',
        alterClaims: (claims) => firmware.claims(claims),
      }),
    },
    {
      service: 'vault',
      hosts: [names.vaultHost],
      tls,
      handler: loggedVault(
        vaultService({
          host: names.vaultHost,
          tenantId: state.tenantId,
          state: vault,
          tokenIssuers: async (issuedBy) => (issuedBy === authority ? signingKeys(tokenSigner) : undefined),
          authenticate: (bearer) => issuer.authenticate(bearer, 'https://vault.azure.net'),
          authorise: mayUseKey,
          signer: state.vaultSigner,
        }),
        {
          issuer,
          directory,
          host: names.vaultHost,
          resourceId: names.vaultId,
          newestVersion: (keyName) => vault.get(keyName)?.versions.at(-1)?.version,
        },
      ),
    },
    {
      service: 'storage',
      hosts: [names.storageHost],
      tls,
      handler: loggedStorage(
        storageService({
          issuer,
          roles,
          host: names.storageHost,
          accountId: names.storageId,
          backendPort: blobs.port,
          ca: tls.ca,
        }),
        { issuer, directory, host: names.storageHost, resourceId: names.storageId },
      ),
    },
    {
      service: 'resource-manager',
      hosts: [RESOURCE_MANAGER_HOST],
      tls,
      handler: resourceManager({ issuer, roles, machines }),
    },
    {
      service: 'logs',
      hosts: [names.logsHost],
      tls,
      handler: logsService({
        issuer,
        roles,
        ruleId: names.ruleId,
        ruleResourceId: names.ruleResourceId,
        directory,
      }),
    },
  ];
}

/** Data actions behind a vault's operations (built-in roles reference). */
const VAULT_ACTIONS: Readonly<Record<VaultAction, string>> = {
  get: 'Microsoft.KeyVault/vaults/keys/read',
  create: 'Microsoft.KeyVault/vaults/keys/create/action',
  update: 'Microsoft.KeyVault/vaults/keys/update/action',
  wrap: 'Microsoft.KeyVault/vaults/keys/wrap/action',
  unwrap: 'Microsoft.KeyVault/vaults/keys/unwrap/action',
  release: 'Microsoft.KeyVault/vaults/keys/release/action',
};

function openRoles(stateDir: string, state: EmulatorState): RoleAssignments {
  const file = join(stateDir, 'role-assignments.json');
  const found = readAssignments(file);
  const roles = new RoleAssignments(found ?? [], (all) => writeFileSync(file, JSON.stringify(all)));
  provisionRoles(roles, state, found === undefined);
  return roles;
}

function readAssignments(file: string): readonly RoleAssignment[] | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RoleAssignment[];
  } catch {
    return undefined;
  }
}
