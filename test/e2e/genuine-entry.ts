/** The emulated machine, whose roots this trainer takes for AMD's own: what a receipt of real hardware says, without the hardware. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { emulatorNetwork } from '../../emulator/network.ts';
import { EMULATOR_WAIVES } from '../../runtime/hygiene.ts';
import { readMachineConfig } from '../../runtime/machine-config.ts';
import type { runTrainer } from '../../runtime/trainer.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';

const [bundleDir = '', configPath = '', placePath = ''] = process.argv.slice(2);
const place = JSON.parse(readFileSync(placePath, 'utf8')) as Parameters<typeof emulatorNetwork>[0] & {
  trust: TrustAnchors;
};
const bundle = (await import(pathToFileURL(join(bundleDir, 'trainer.mjs')).href)) as { runTrainer: typeof runTrainer };
await bundle.runTrainer({
  machine: readMachineConfig(configPath),
  trust: { ...place.trust, hardware: 'SEV-SNP' },
  network: emulatorNetwork(place),
  variables: Object.keys(process.env),
  waives: EMULATOR_WAIVES,
  requireConfinement: false,
  bundleDir,
  now: () => new Date(),
  say: (line) => console.log(`ctrain: ${line}`),
});
