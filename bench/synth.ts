import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { type Measure, medianTimes } from './measure.ts';

const ROOT = join(import.meta.dirname, '..');
const ENVIRONMENTS = join(ROOT, 'environments');
const MACHINES = 100;
const ROUNDS = 5;

/** From nothing to the Terraform of all three stacks, one process each time; the baseline is Node's own start and end. */
export async function benchSynth(): Promise<Measure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-bench-'));
  try {
    // An environment is named by its file, relative to the folder they are all in.
    const fleet = relative(ENVIRONMENTS, join(dir, 'fleet'));
    await writeFile(join(dir, 'fleet.json'), await fleetOf(MACHINES));
    const times = await medianTimes(
      {
        start: () => run(['--eval', '0'], dir),
        example: () => synthesize('example', dir),
        fleet: () => synthesize(fleet, dir),
      },
      ROUNDS,
    );
    const baseline = times.start;
    return [
      { name: 'synth', value: times.example, unit: 'ms', baseline, ratio: times.example / baseline },
      { name: `synth-${MACHINES}`, value: times.fleet, unit: 'ms', baseline, ratio: times.fleet / baseline },
    ];
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** The example, with so many machines. */
async function fleetOf(count: number): Promise<string> {
  const example = JSON.parse(await readFile(join(ENVIRONMENTS, 'example.json'), 'utf8')) as { training: object };
  return JSON.stringify({ ...example, name: 'fleet', training: { ...example.training, count } });
}

function synthesize(environment: string, dir: string): Promise<void> {
  const app = ['--disable-warning=DEP0044', join(ROOT, 'stacks', 'app.ts')];
  return run(app, dir, { CTRAIN_ENVIRONMENT: environment, CDKTF_OUTDIR: join(dir, 'cdktf.out') });
}

async function run(args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
  await promisify(execFile)(process.execPath, args, { cwd, env: { ...process.env, ...env } });
}
