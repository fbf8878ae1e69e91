/** A process that seals one folder and prints the most memory it took, in MB. Started by files.ts. */
import { readFile } from 'node:fs/promises';
import { sealDataset } from '../runtime/data/seal-dataset.ts';
import { benchKeys, sealingOf } from './prepared.ts';

const [input = '', output = ''] = process.argv.slice(2);
await sealDataset({ ...sealingOf(input, output, benchKeys()), jobs: 1 });
// Not resourceUsage().maxRSS, which begins with what the process that started this one held.
const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile('/proc/self/status', 'utf8')) ?? [];
console.log(Math.round(Number(kilobytes) / 1024));
