/** The emulated machine, whose roots this trainer takes for AMD's own: what a receipt of real hardware says, without the hardware. */
import { runBundle } from '../../emulator/run-bundle.ts';

await runBundle(process.argv.slice(2), (emulator) => ({ ...emulator, hardware: 'SEV-SNP' }));
