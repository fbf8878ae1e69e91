/** What `npm run bench` starts: one JSON line a measure. Figures are for people to compare; no test waits for them. */
import { parseArgs } from 'node:util';
import { benchCheckpoint } from './checkpoint.ts';
import { benchEnvironment } from './environment.ts';
import { benchFeed } from './feed.ts';
import { benchFiles } from './files.ts';
import { benchFit } from './fit.ts';
import type { Measure } from './measure.ts';
import { benchNative } from './native.ts';
import { benchParse } from './parse.ts';
import { benchPrepare } from './prepare.ts';
import { benchSeal } from './seal.ts';
import { benchSynth } from './synth.ts';
import { benchTransfer } from './transfer.ts';

interface Benchmark {
  /** What it is about, and the bar from design section 9. */
  readonly summary: string;
  readonly run: (options: { readonly whole: boolean }) => Promise<Measure[]>;
}

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  prepare: { summary: 'csv into checked splits: rate of DuckDB alone, which checks nothing', run: benchPrepare },
  seal: { summary: 'seal and open in memory: >= 0.8 of AES-256-GCM; -work: of it and SHA-256', run: benchSeal },
  files: { summary: 'seal from file to file: rate of a copy loop; 2 jobs >= 1.6 of 1; memory flat', run: benchFiles },
  transfer: { summary: 'upload and read: rate of plain transfers; rotation: rate of its RSA', run: benchTransfer },
  environment: { summary: 'machine to released key on the emulator: < 1000 ms', run: benchEnvironment },
  parse: { summary: 'bytes allocated to read a bundle of evidence, and times its size', run: benchParse },
  synth: { summary: 'three stacks: < 1000 ms, with 100 machines < 1500 ms', run: benchSynth },
  feed: { summary: 'training from sealed shards, wasm and native: >= 0.95 of rows in memory', run: benchFeed },
  checkpoint: {
    summary: 'checkpoints at the default interval, wasm and native: <= 1 % of wall time',
    run: benchCheckpoint,
  },
  native: {
    summary:
      'a step of ours: >= 2.5 times stock tfjs-node and >= 1 of TensorFlow and PyTorch in Python for an mlp; convnet 1.6, 0.7',
    run: benchNative,
  },
  fit: { summary: 'training in memory: >= 4 times stock tfjs wasm', run: benchFit },
};

const HELP = `usage: npm run bench -- [--whole] [NAME...]

Prints one JSON line a measure: name, value, unit and, where there is one, baseline and ratio (value / baseline, same run)
and method, how it was measured.
--whole takes 10 GB where 1 GB is the rule, and 10,000 objects for 300.
Without a NAME all of them run:

${Object.entries(BENCHMARKS)
  .map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`)
  .join('\n')}`;

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' }, whole: { type: 'boolean', default: false } },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const unknown = positionals.filter((name) => !Object.hasOwn(BENCHMARKS, name));
  if (unknown.length > 0) {
    console.error(`bench: found ${unknown.join(', ')}, wanted ${Object.keys(BENCHMARKS).join(', ')}`);
    return 2;
  }
  for (const [name, { run }] of Object.entries(BENCHMARKS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    for (const measure of await run({ whole: values.whole })) console.log(JSON.stringify(rounded(measure)));
  }
  return 0;
}

/** Four digits: more would be noise. */
function rounded(measure: Measure): object {
  const entries = Object.entries(measure) as [string, string | number][];
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === 'number' ? Number(value.toPrecision(4)) : value]),
  );
}
