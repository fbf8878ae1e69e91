import { Command } from 'commander';
import { azureNetwork } from '../../runtime/azure/network.ts';
import { operatorCredential } from '../../runtime/azure/operator-identity.ts';
import { subscriptionReader } from '../../runtime/azure/subscription.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { chooseDeployment } from '../context.ts';
import { costDrivers } from '../doctor/costs.ts';
import { type DataPlaneStep, dataPlaneSteps, type Reach, reach } from '../doctor/data-plane.ts';
import { type Check, liveChecks } from '../doctor/live.ts';
import { prerequisites, roleNeeds } from '../doctor/needs.ts';
import { declaredResources, record } from '../doctor/resources.ts';
import { type SynthesizedStack, synthesize } from '../synthesize.ts';

const FINE = 0;
const PROBLEMS = 10;

interface DoctorFlags {
  readonly deployment?: string;
  readonly live?: boolean;
  readonly json?: boolean;
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what deploying an environment needs: roles, steps, prerequisites, what is billed; --live looks')
    .argument('[environment]', 'file in environments/, without .json', 'example')
    .option('-d, --deployment <file>', 'take hosts from this deployment (default: as the environment declares them)')
    .option('--live', 'check quota, sizes, registrations, orchestrator and release keys, as the signed-in identity')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain doctor example
  $ ctrain doctor example --live --json

Changes nothing. Without --live nothing is called but DNS and, where a name leads to a private address, port 443.
Exit codes: ${FINE} fine, ${PROBLEMS} a live check found a problem or could not look.`,
    )
    .action(async (environment: string, { deployment, live, json }: DoctorFlags) => {
      const stacks = await synthesize(environment);
      const resources = declaredResources(stacks);
      const steps = dataPlaneSteps(await placeOf(stacks, deployment));
      const hosts = await Promise.all([...new Set(steps.map(({ host }) => host))].map((host) => reach(host)));
      const report = {
        environment,
        roles: roleNeeds(stacks),
        dataPlane: steps.map((step) => ({ ...step, ...reachOf(step, hosts) })),
        prerequisites: prerequisites(stacks),
        costs: costDrivers(resources),
        unknownTypes: [
          ...new Set(resources.filter(({ azureType }) => azureType === undefined).map(({ type }) => type)),
        ],
        ...(live === true ? { checks: await liveChecks(resources, azureServices()) } : {}),
      };
      if (json === true) console.log(JSON.stringify(report));
      else print(report);
      process.exitCode = (report.checks ?? []).every(({ state }) => state === 'ok') ? FINE : PROBLEMS;
    });
}

type Report = Readonly<{
  environment: string;
  roles: ReturnType<typeof roleNeeds>;
  dataPlane: readonly (DataPlaneStep & Reach)[];
  prerequisites: ReturnType<typeof prerequisites>;
  costs: ReturnType<typeof costDrivers>;
  unknownTypes: readonly string[];
  checks?: readonly Check[];
}>;

/** Names are declared before anything exists; a deployment file has those of what does. */
async function placeOf(stacks: readonly SynthesizedStack[], file: string | undefined): Promise<Deployment> {
  if (file !== undefined) {
    const { deployment } = await chooseDeployment(file, console.error);
    if (deployment !== undefined) return deployment;
  }
  const outputs = stacks.map(({ configuration }) => record(record(configuration.output).deployment).value);
  // Only members that are known before apply are read: hosts and the authority.
  return outputs.find((value) => value !== undefined) as Deployment;
}

function reachOf({ host }: DataPlaneStep, hosts: readonly Reach[]): Reach {
  return hosts.find((found) => found.host === host) ?? { host, addresses: [], state: 'no such name' };
}

function azureServices(): Parameters<typeof liveChecks>[1] {
  const network = azureNetwork();
  const credential = operatorCredential();
  return {
    reader: subscriptionReader(network, credential),
    keysOf: async (host) =>
      (await reach(host)).state === 'reachable' ? vaultClient(network, credential, host) : undefined,
  };
}

function print({ environment, roles, dataPlane, prerequisites: wanted, costs, unknownTypes, checks }: Report): void {
  console.log(`roles of whoever applies ${environment}:`);
  for (const { stack, role, scope, because } of roles) console.log(`  ${stack}: ${role} on ${scope}\n    ${because}`);
  console.log('steps that Terraform does not do, from a network with the private endpoints:');
  for (const { step, host, role, state } of dataPlane) console.log(`  ${step}: ${role}, ${host} (from here: ${state})`);
  console.log('before the first apply:');
  for (const { what, how } of wanted) console.log(`  ${what}\n    ${how}`);
  console.log('what is billed:');
  for (const { count, what, billed } of costs) console.log(`  ${count} ${what}: ${billed}`);
  for (const type of unknownTypes) console.log(`not known here, look yourself: ${type}`);
  if (checks === undefined) return;
  console.log('looked at now:');
  const marks = { ok: '✓', problem: '✗', unknown: '?' } as const;
  for (const { what, state, says } of checks) console.log(`  ${marks[state]} ${what}: ${says}`);
}
