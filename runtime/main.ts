/**
 * The trainer's production entry point: what the machine's unit starts. It trusts Azure's roots and waives nothing.
 * There is one argument, the machine's configuration; no other input decides anything here.
 */

import { azureNetwork } from './azure/network.ts';
import { AZURE_TRUST } from './azure-trust.ts';
import { EVENT_LOG_PATH } from './catalogue.ts';
import { EXIT_CODES, SecureTrainingError } from './errors.ts';
import { readMachineConfig } from './machine-config.ts';
import { stopSignal } from './stop-signal.ts';
import { runTrainer } from './trainer.ts';

const [configPath] = process.argv.slice(2);
try {
  if (configPath === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'usage: main.mjs MACHINE.json');
  await runTrainer({
    machine: readMachineConfig(configPath),
    trust: AZURE_TRUST,
    network: azureNetwork(),
    variables: Object.keys(process.env),
    waives: [],
    requireConfinement: true,
    eventLogPath: EVENT_LOG_PATH,
    bundleDir: import.meta.dirname,
    stop: stopSignal,
    now: () => new Date(),
    say: (line) => console.log(`ctrain: ${line}`),
  });
} catch (error) {
  const known = error instanceof SecureTrainingError;
  console.error(known ? `ctrain: ${error.code} ${error.message}` : 'ctrain: internal error');
  if (!known) console.error(error);
  process.exitCode = known ? EXIT_CODES[error.code] : 1;
}
