import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Deployment, STRICT_ENVIRONMENT } from '../runtime/catalogue.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import { logFiles } from './access-logs.ts';
import type { EmulatorState } from './state.ts';

export interface DeploymentParts {
  readonly stateDir: string;
  readonly keyName: string;
  readonly bundleSha256: string;
  readonly routes: Readonly<Record<string, number>>;
}

/** Files of a state folder that others read. */
export function placesIn(stateDir: string) {
  return {
    caFile: join(stateDir, 'tls-root.pem'),
    rootsFile: join(stateDir, 'roots.json'),
    serialFile: join(stateDir, 'serial.log'),
    /** What the kernel of the machine would show of its boot. */
    eventLogPath: join(stateDir, 'binary_bios_measurements'),
    /** For a foreign client that acts as the operator, and for one that plays the machine. */
    operatorEnvironment: join(stateDir, 'operator.env'),
    machineEnvironment: join(stateDir, 'machine.env'),
  };
}

/** The emulator in the schema of the stacks' output. */
export function deploymentOf(
  { names, tenantId, subscriptionId, trainer, operator }: EmulatorState,
  place: DeploymentParts,
): Deployment {
  const { caFile, rootsFile, serialFile } = placesIn(place.stateDir);
  const { trainer: trainerLog, vault, storage } = logFiles(place.stateDir);
  return {
    version: 1,
    kind: 'emulator',
    tenantId,
    subscriptionId,
    resourceGroup: names.resourceGroup,
    owner: {
      vaultHost: names.vaultHost,
      vaultId: names.vaultId,
      keyNames: [place.keyName],
      attestationAuthority: names.attestationAuthority,
    },
    storage: { account: names.storageAccount, blobEndpoint: `https://${names.storageHost}` },
    trainer: {
      vmIds: [names.machineId],
      identityClientId: trainer.clientId,
      identityPrincipalId: trainer.principalId,
      bundleSha256: place.bundleSha256,
    },
    logs: { endpoint: `https://${names.logsHost}`, ruleId: names.ruleId },
    environment: STRICT_ENVIRONMENT,
    emulator: {
      caFile,
      routes: place.routes,
      rootsFile,
      serialFile,
      processId: process.pid,
      logs: { trainer: trainerLog, vault, storage },
      operatorPrincipalId: operator.principalId,
    },
  };
}

interface Written {
  readonly deploymentFile: string;
  readonly deployment: Deployment;
  readonly trust: TrustAnchors;
  readonly ca: string;
}

/** The deployment file last: whoever finds it finds everything it names. */
export async function writeDeployment(
  stateDir: string,
  { deploymentFile, deployment, trust, ca }: Written,
): Promise<void> {
  const { caFile, rootsFile } = placesIn(stateDir);
  await writeFile(caFile, ca);
  await writeFile(rootsFile, `${JSON.stringify(trust, null, 2)}\n`);
  await writeFile(`${deploymentFile}.partial`, `${JSON.stringify(deployment, null, 2)}\n`);
  await rename(`${deploymentFile}.partial`, deploymentFile);
}
