import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const NODE = fileURLToPath(new URL('../../node_modules/.bin/node', import.meta.url));
const CLI = fileURLToPath(new URL('../../scripts/cli.ts', import.meta.url));

/** The configuration that goes with `flowers` of place.ts. */
export const SMALL = {
  input_size: 8,
  hidden_size: 16,
  output_size: 3,
  epochs: 2,
  batch_size: 32,
  checkpoint_steps: 10,
};

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A command as somebody at a terminal started it, but with nobody to ask. */
export interface Started {
  readonly ended: Promise<Ended>;
  /** Resolves when its output holds `text`; `false` when it ended without. */
  sees(text: string): Promise<boolean>;
  kill(signal: NodeJS.Signals): void;
}

/** A new folder to stand in, by its real path as /proc shows it. */
export async function newFolder(): Promise<string> {
  return mkdtemp(join(await realpath(tmpdir()), 'ctrain-cli-'));
}

export function start(folder: string, ...args: readonly string[]): Started {
  const child = spawn(NODE, [CLI, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { out: '', err: '' };
  const watchers = new Set<() => void>();
  for (const [name, stream] of [
    ['out', child.stdout],
    ['err', child.stderr],
  ] as const) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
      for (const look of watchers) look();
    });
  }
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...text }));
  return {
    ended,
    kill: (signal) => child.kill(signal),
    sees: (wanted) => {
      const found = new Promise<boolean>((done) => {
        const look = () => {
          if (text.out.includes(wanted) || text.err.includes(wanted)) done(true);
        };
        watchers.add(look);
        look();
      });
      return Promise.race([found, ended.then(() => false)]);
    },
  };
}

export function run(folder: string, ...args: readonly string[]): Promise<Ended> {
  return start(folder, ...args).ended;
}

/** Everything below a folder, by relative path. */
export async function listing(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort();
}

/** Processes that were started in a folder, or with a path in it (Linux only). */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .map((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        const isOurs = words.includes(folder) || `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`);
        return isOurs ? `${pid} ${words}` : '';
      } catch {
        return '';
      }
    })
    .filter((found) => found !== '');
}

/** What still runs of a folder's processes once they have had time to notice that their parent is gone. */
export async function leftRunning(folder: string, patienceInMs = 15_000): Promise<string[]> {
  for (const end = Date.now() + patienceInMs; ; await delay(50)) {
    const left = processesOf(folder);
    if (left.length === 0 || Date.now() > end) return left;
  }
}
