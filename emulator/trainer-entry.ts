/** What the emulated machine starts instead of the production entry point: the same bundle, handed the emulator's roots. */
import { runBundle } from './run-bundle.ts';

await runBundle(process.argv.slice(2), (emulator) => emulator);
