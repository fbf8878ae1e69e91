/** `ctrain emulator`: Azure on this machine, in the foreground, until Ctrl-C. */
import { parseArgs } from 'node:util';
import { EXIT_CODES, SecureTrainingError } from '../runtime/errors.ts';
import { placesIn } from './deployment.ts';
import { startEmulator } from './start.ts';

const { values } = parseArgs({
  options: {
    state: { type: 'string', default: '.ctrain/emulator' },
    bundle: { type: 'string' },
    /** Script that starts the bundle. */
    entry: { type: 'string' },
    /** Ends with standard input: for a command that starts an emulator and must not leave it behind. */
    parent: { type: 'boolean', default: false },
  },
});

try {
  await run();
} catch (error) {
  const known = error instanceof SecureTrainingError;
  console.error(known ? `${error.code}: ${error.message}` : error);
  process.exitCode = known ? EXIT_CODES[error.code] : 1;
  // Listening for its end would keep this process alive.
  process.stdin.destroy();
}

async function run(): Promise<void> {
  // Before the start: a signal that comes while it starts must not leave half of it running.
  const ended = untilTold(values.parent);
  const emulator = await startEmulator({
    stateDir: values.state,
    ...(values.bundle === undefined ? {} : { bundle: values.bundle }),
    ...(values.entry === undefined ? {} : { entry: values.entry }),
  });
  const { deployment } = emulator;
  const { operatorEnvironment, machineEnvironment } = placesIn(values.state);
  console.log(`state       ${values.state}`);
  console.log(`deployment  ${emulator.deploymentFile}`);
  console.log(`vault       ${deployment.owner.vaultHost} (key ${deployment.owner.keyNames.join(', ')})`);
  console.log(`storage     ${deployment.storage.blobEndpoint}`);
  console.log(`machine     ${deployment.trainer.vmIds.join(', ')}`);
  console.log(`serial      ${emulator.serialFile}`);
  console.log(`other tools . ${operatorEnvironment} (as the operator) or . ${machineEnvironment} (as the machine)`);
  console.log('ready: nothing here protects data, it only behaves as if');
  await ended;
  await emulator.stop();
}

async function untilTold(parent: boolean): Promise<void> {
  await new Promise<void>((done) => {
    process.once('SIGINT', () => done());
    process.once('SIGTERM', () => done());
    if (!parent) return;
    process.stdin.once('end', () => done());
    process.stdin.once('error', () => done());
    process.stdin.resume();
  });
}
