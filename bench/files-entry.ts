/** A process that seals one folder and prints the most memory it took, in MB. Started by files.ts. */
import { sealDataset } from '../runtime/data/seal-dataset.ts';
import { benchKeys, sealingOf } from './prepared.ts';

const [input = '', output = ''] = process.argv.slice(2);
await sealDataset({ ...sealingOf(input, output, benchKeys()), jobs: 1 });
console.log(Math.round(process.resourceUsage().maxRSS / 1000));
