/** The emulated machine, whose trainer was started with a debugger open and a variable that Node acts on. */
import inspector from 'node:inspector';
import { runBundle } from '../../emulator/run-bundle.ts';

process.env.NODE_DEBUG = 'none';
inspector.open(0, '127.0.0.1');
await runBundle(process.argv.slice(2), (emulator) => emulator);
