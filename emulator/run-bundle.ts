import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Network } from '../runtime/azure/network.ts';
import { EXIT_CODES, type SecureTrainingError } from '../runtime/errors.ts';
import { EMULATOR_WAIVES } from '../runtime/hygiene.ts';
import { readMachineConfig } from '../runtime/machine-config.ts';
import { stopSignal } from '../runtime/stop-signal.ts';
import type { runTrainer } from '../runtime/trainer.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import { emulatorNetwork } from './network.ts';

/** What the emulated boot leaves beside `machine.json`. */
interface EmulatedPlace {
  readonly trust: TrustAnchors;
  readonly ca: string;
  readonly routes: Readonly<Record<string, number>>;
  /** File with the event log of this boot. */
  readonly eventLogPath: string;
  /** Numbers only: it comes as JSON. */
  readonly retry?: Network['retry'];
}

/**
 * Runs the very bundle that production runs, in an emulated machine: its network is the emulator's, and checks that a
 * machine we do not own cannot pass are waived and named. Arguments: BUNDLE_DIR MACHINE.json PLACE.json.
 * @param trustOf the roots that the trainer gets, from those of the emulator
 */
export async function runBundle(
  [bundleDir, configPath, placePath]: readonly string[],
  trustOf: (emulator: TrustAnchors) => TrustAnchors,
): Promise<void> {
  if (bundleDir === undefined || configPath === undefined || placePath === undefined) {
    throw new Error('usage: BUNDLE_DIR MACHINE.json PLACE.json');
  }
  const place = JSON.parse(readFileSync(placePath, 'utf8')) as EmulatedPlace;
  const path = pathToFileURL(join(bundleDir, 'trainer.mjs')).href;
  const bundle = (await import(path)) as { runTrainer: typeof runTrainer };
  try {
    await bundle.runTrainer({
      machine: readMachineConfig(configPath),
      trust: trustOf(place.trust),
      network: emulatorNetwork(place),
      variables: Object.keys(process.env),
      waives: EMULATOR_WAIVES,
      requireConfinement: false,
      eventLogPath: place.eventLogPath,
      bundleDir,
      stop: stopSignal,
      now: () => new Date(),
      say: (line) => console.log(`ctrain: ${line}`),
    });
  } catch (error) {
    // The bundle has its own copy of the error class: told by name and code.
    const code = (error as Partial<SecureTrainingError>).code;
    const known = error instanceof Error && error.name === 'SecureTrainingError' && code !== undefined;
    console.error(known ? `ctrain: ${code} ${error.message}` : 'ctrain: internal error');
    if (!known) console.error(error);
    process.exitCode = known ? EXIT_CODES[code] : 1;
  }
}
