/**
 * The emulated machine, started with another trust than the emulator's: by default production's, as if somebody pointed a
 * real trainer at an emulator; with CTRAIN_TEST_ROOTS beside the place file, the emulator's roots taken for AMD's.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { emulatorNetwork } from '../../emulator/network.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { EMULATOR_WAIVES } from '../../runtime/hygiene.ts';
import { readMachineConfig } from '../../runtime/machine-config.ts';
import type { runTrainer } from '../../runtime/trainer.ts';

const [bundleDir = '', configPath = '', placePath = ''] = process.argv.slice(2);
const place = JSON.parse(readFileSync(placePath, 'utf8')) as Parameters<typeof emulatorNetwork>[0];
const bundle = (await import(pathToFileURL(join(bundleDir, 'trainer.mjs')).href)) as { runTrainer: typeof runTrainer };
await bundle
  .runTrainer({
    machine: readMachineConfig(configPath),
    trust: AZURE_TRUST,
    network: emulatorNetwork(place),
    variables: Object.keys(process.env),
    waives: EMULATOR_WAIVES,
    requireConfinement: false,
    bundleDir,
    now: () => new Date(),
    say: (line) => console.log(`ctrain: ${line}`),
  })
  .catch(() => {
    process.exitCode = 5;
  });
