/** The emulated machine with production's trust: as if somebody pointed a real trainer at an emulator. */
import { runBundle } from '../../emulator/run-bundle.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';

await runBundle(process.argv.slice(2), () => AZURE_TRUST);
