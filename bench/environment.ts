import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OPERATOR_CLIENT_ID } from '../emulator/provision.ts';
import { startEmulator } from '../emulator/start.ts';
import { managedIdentity } from '../runtime/azure/identity.ts';
import type { Context } from '../scripts/context.ts';
import { createLocalKeys } from '../scripts/local-keys.ts';
import { fittedConfiguration } from '../scripts/run/configuration.ts';
import { prepareRun } from '../scripts/run/pipeline.ts';
import { submitRun } from '../scripts/run/submit.ts';
import { type EnvironmentTimes, MARK } from './environment-times.ts';
import { type Measure, median } from './measure.ts';

/**
 * From the first look at the machine to the released key, in an emulated machine: `environment-to-key-first` in a process
 * that has just started, as a trainer has, `environment-to-key` once it is warm. `verify-evidence` is the judging alone, first and warm
 * (<= 3 ms).
 */
export async function benchEnvironment(): Promise<Measure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-bench-'));
  const serial: string[] = [];
  try {
    const emulator = await startEmulator({
      stateDir: join(dir, 'emulator'),
      rootKeyBits: 2048,
      entry: fileURLToPath(new URL('./environment-entry.ts', import.meta.url)),
      onSerial: (line) => serial.push(line),
    });
    try {
      const { deployment, network, machine } = emulator;
      const credential = managedIdentity(network, OPERATOR_CLIENT_ID);
      const context: Context = { deployment, network, credential, close: async () => undefined };
      await submitRun(context, await agreedIn(dir, context), new Date());
      await machine.reached('stopped');
    } finally {
      await emulator.stop();
    }
  } finally {
    await rm(dir, { recursive: true });
  }
  const line = serial.find((text) => text.startsWith(MARK));
  if (line === undefined) throw new Error(`the machine was not established:\n${serial.join('\n')}`);
  const { established, verified } = JSON.parse(line.slice(MARK.length)) as EnvironmentTimes;
  const [first, ...warm] = established;
  const [cold, ...again] = verified;
  return [
    { name: 'environment-to-key-first', value: first ?? Number.NaN, unit: 'ms' },
    { name: 'environment-to-key', value: median(warm), unit: 'ms' },
    { name: 'verify-evidence-first', value: cold ?? Number.NaN, unit: 'ms' },
    { name: 'verify-evidence', value: median(again), unit: 'ms' },
  ];
}

/** An agreement about a few rows, which nobody will train on. */
async function agreedIn(dir: string, context: Context): Promise<Uint8Array> {
  const keys = await createLocalKeys(join(dir, 'keys.json'), 'owner');
  const inputPath = join(dir, 'rows.csv');
  const rows = Array.from({ length: 300 }, (_, i) => `${i},${(i * 7) % 11},${i % 3}`);
  await writeFile(inputPath, `${['a,b,label', ...rows].join('\n')}\n`);
  const { agreement } = await prepareRun(
    context,
    keys,
    {
      data: { inputPath },
      configuration: fittedConfiguration([]),
      workDir: join(dir, 'work'),
      keepPlaintext: false,
      consent: async () => undefined,
    },
    { line: () => undefined, step: (_, work) => work(() => undefined) },
  );
  return agreement;
}
