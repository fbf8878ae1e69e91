/**
 * Takes the trainer's place where only the machine is tested. Its bundle is one file, `behaviour`, that says what to do:
 * `wait`, `exit CODE`, or `deallocate`, by way of the services as the real one does it.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { emulatorNetwork } from '../../emulator/network.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { readVmId } from '../../runtime/azure/metadata.ts';
import { deallocateMachine } from '../../runtime/azure/resource-manager.ts';
import { parseMachineConfig } from '../../runtime/machine-config.ts';

const [bundleDir = '', machineFile = '', placeFile = ''] = process.argv.slice(2);
const machine = parseMachineConfig(readFileSync(machineFile, 'utf8'));
const network = emulatorNetwork(
  JSON.parse(readFileSync(placeFile, 'utf8')) as { ca: string; routes: Record<string, number> },
);
const [verb, argument] = readFileSync(join(bundleDir, 'behaviour'), 'utf8').split(' ');

console.log(`vm ${await readVmId(network)}`);
console.log(`flags ${process.execArgv.join(' ')}`);
console.log(`variables ${Object.keys(process.env).sort().join(' ')}`);
if (verb === 'exit') process.exit(Number(argument));
if (verb === 'deallocate')
  await deallocateMachine(network, managedIdentity(network, machine.identityClientId), machine.vmResourceId);
// As the worker: a process of its own that would stay if nobody saw to it.
const worker = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
console.log(`working ${process.pid} ${worker.pid}`);
setInterval(() => undefined, 1000);
