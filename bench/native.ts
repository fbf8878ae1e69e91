import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Measure, median } from './measure.ts';
import type { ModelName } from './native-data.ts';

const ENTRY = fileURLToPath(new URL('./native-entry.ts', import.meta.url));
const ROOT = join(import.meta.dirname, '..');
const NATIVE_DIR = join(ROOT, '.native');
/** Python and what it installs, kept for the next time. */
const VENV = join(ROOT, '.bench', 'venv');
const PYTHON = join(VENV, 'bin', 'python');
const TENSORFLOW = 'tensorflow-cpu==2.21.0';
const ROUNDS = 7;
const ROUND_MS = 500;

interface Cell {
  readonly model: ModelName;
  readonly batch: number;
  readonly optimizer: 'sgd' | 'adam';
}

const CELLS: readonly Cell[] = (['mlp', 'convnet'] as const).flatMap((model) =>
  [64, 256].flatMap((batch) => (['sgd', 'adam'] as const).map((optimizer) => ({ model, batch, optimizer }))),
);

/**
 * Training steps on the native backend: ours against stock tfjs-node, TensorFlow in Python and PyTorch, each in a process of its
 * own and taking turns, so that whatever else the machine does slows them alike.
 */
export async function benchNative(): Promise<Measure[]> {
  if (!existsSync(NATIVE_DIR)) {
    console.error('native: no engine in .native: npm run setup:native makes one');
    return [];
  }
  const contestants = [contestant('ours', javascript('ours')), contestant('stock', javascript('stock'))];
  if (hasTensorFlow()) contestants.push(contestant('tensorflow', python('tensorflow')));
  else console.error(`native: without TensorFlow in Python: ${TENSORFLOW} could not be installed in .bench/venv`);
  if (runs(PYTHON, ['-c', 'import torch'])) contestants.push(contestant('pytorch', python('pytorch')));
  else console.error('native: without PyTorch, which is larger than 1 GB: .bench/venv/bin/pip install torch==2.15.0');
  try {
    const measures: Measure[] = [];
    for (const cell of CELLS) measures.push(...(await compare(contestants, cell)));
    const peaks = contestants.map(({ name, peakMegabytes }) => ({
      name: `native-memory-${name}`,
      value: peakMegabytes(),
      unit: 'MB at the peak',
    }));
    return [...measures, ...peaks];
  } finally {
    for (const { stop } of contestants) stop();
  }
}

async function compare(contestants: readonly Contestant[], { model, batch, optimizer }: Cell): Promise<Measure[]> {
  const rates = new Map(contestants.map(({ name }) => [name, [] as number[]]));
  // The first round is warm-up.
  for (let round = -1; round < ROUNDS; round++) {
    for (const { name, ask } of contestants) {
      const rate = Number(await ask(`${model} ${batch} ${optimizer} ${ROUND_MS}`));
      if (round >= 0) rates.get(name)?.push(rate);
    }
  }
  const value = median(rates.get('ours') ?? []);
  return contestants.slice(1).map(({ name }) => {
    const baseline = median(rates.get(name) ?? []);
    const label = `native-${model}-${batch}-${optimizer}-over-${name}`;
    return { name: label, value, unit: 'samples/s', baseline, ratio: value / baseline };
  });
}

interface Contestant {
  readonly name: string;
  ask(line: string): Promise<string>;
  peakMegabytes(): number;
  stop(): void;
}

function contestant(name: string, child: ChildProcess): Contestant {
  if (child.stdout === null || child.stdin === null) throw new Error(`${name} has no streams`);
  const { stdin } = child;
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    name,
    async ask(line) {
      stdin.write(`${line}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${name} ended`);
      return value;
    },
    peakMegabytes() {
      const kilobytes = /^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
      return Number(kilobytes) / 1000;
    },
    stop: () => child.kill(),
  };
}

function javascript(name: string): ChildProcess {
  return spawn(process.execPath, [ENTRY, name, NATIVE_DIR], {
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '3' },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

function python(name: string): ChildProcess {
  const script = join(import.meta.dirname, 'native_contestant.py');
  return spawn(PYTHON, [script, name], { stdio: ['pipe', 'pipe', 'ignore'] });
}

function hasTensorFlow(): boolean {
  if (!existsSync(PYTHON) && !runs('python3', ['-m', 'venv', VENV])) return false;
  if (runs(PYTHON, ['-c', 'import tensorflow'])) return true;
  return runs(PYTHON, ['-m', 'pip', 'install', '--quiet', TENSORFLOW]);
}

function runs(command: string, parameters: readonly string[]): boolean {
  return spawnSync(command, parameters, { stdio: 'ignore' }).status === 0;
}
