import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { type Emulator, type EmulatorOptions, startEmulator } from '../../emulator/start.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { datasetPrefix } from '../../runtime/data/sealed-folder.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import type { Manifest } from '../../runtime/statements/manifest.ts';
import type { ReceiptContent } from '../../runtime/statements/receipt.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../runtime/training-config.ts';
import { buildTrainerBundle } from '../../scripts/bundle.ts';
import type { Context } from '../../scripts/context.ts';
import type { CustomBundle } from '../../scripts/custom/bundle-custom.ts';
import { type LocalKeys, localKeys } from '../../scripts/local-keys.ts';
import type { Reporter } from '../../scripts/progress.ts';
import { openModel } from '../../scripts/run/open-model.ts';
import { prepareRun } from '../../scripts/run/pipeline.ts';
import { submitRun, watchRun } from '../../scripts/run/submit.ts';

const QUIET: Reporter = { line: () => undefined, step: (_, work) => work(() => undefined) };

/** A whole emulated Azure with one small uploaded dataset and a signed agreement about it. */
export interface Place {
  readonly dir: string;
  readonly emulator: Emulator;
  readonly context: Context;
  readonly keys: LocalKeys;
  readonly agreement: Uint8Array;
  readonly manifest: Manifest;
  readonly prefix: string;
  readonly datasets: BlobStore;
  readonly runs: BlobStore;
  readonly serial: string[];
  stop(): Promise<void>;
}

export interface PlaceOptions extends Partial<Omit<EmulatorOptions, 'stateDir' | 'onSerial'>> {
  readonly training?: Partial<TrainingConfig['training']>;
  readonly rows?: number;
  readonly maxRuns?: number;
  /** Instead of generated rows. */
  readonly csv?: string;
  /** None: labels are values. */
  readonly classes?: readonly string[];
  /** Modules that `training` names: they go into the trainer and the agreement. */
  readonly custom?: CustomBundle;
}

export async function startPlace({
  training,
  rows = 1500,
  csv = flowers(rows),
  classes,
  maxRuns,
  custom,
  ...options
}: PlaceOptions = {}): Promise<Place> {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-e2e-'));
  const serial: string[] = [];
  const bundle = join(dir, 'trainer.tar');
  if (custom !== undefined) await buildTrainerBundle(bundle, { custom });
  const emulator = await startEmulator({
    rootKeyBits: 2048,
    // Short enough for a test, with everything that counts: several attempts, growing, jittered.
    retry: { attempts: 4, baseDelayInMs: 50, maxDelayInMs: 200 },
    ...(custom === undefined ? {} : { bundle }),
    ...options,
    stateDir: join(dir, 'emulator'),
    onSerial: (line) => serial.push(line),
  });
  const { deployment, network } = emulator;
  const credential = managedIdentity(network, OPERATOR_CLIENT_ID);
  const context: Context = { deployment, network, credential, close: async () => undefined };
  const keys = newKeys('owner');
  const inputPath = join(dir, 'flowers.csv');
  await writeFile(inputPath, csv);
  const { agreement, manifest } = await prepareRun(
    context,
    keys,
    {
      data: { inputPath, ...(classes === undefined ? {} : { classes }) },
      configuration: () => smallConfig(training),
      ...(maxRuns === undefined ? {} : { maxRuns }),
      ...(custom === undefined ? {} : { custom }),
      workDir: join(dir, 'work'),
      keepPlaintext: false,
      consent: async () => undefined,
    },
    QUIET,
  );
  return {
    dir,
    emulator,
    context,
    keys,
    agreement,
    manifest,
    prefix: datasetPrefix(manifest),
    datasets: blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets'),
    runs: blobStore(network, credential, deployment.storage.blobEndpoint, 'runs'),
    serial,
    stop: async () => {
      await emulator.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function smallConfig(training: Partial<TrainingConfig['training']> = {}): TrainingConfig {
  return parseTrainingConfig({
    training: {
      input_size: 8,
      hidden_size: 16,
      output_size: 3,
      epochs: 4,
      batch_size: 32,
      checkpoint_steps: 20,
      ...training,
    },
  });
}

export function newKeys(name: string): LocalKeys {
  const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const keys = localKeys(name, signing, generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey);
  // As `ctrain init` does: a command would take a prefix that begins with a hyphen for an option.
  return keys.ownerId.startsWith('-') ? newKeys(name) : keys;
}

/** Runs an agreement to its end; rejects as `ctrain train` does. */
export async function train(place: Place, agreement: Uint8Array = place.agreement): Promise<string> {
  const { runId } = await submitRun(place.context, agreement, new Date());
  try {
    await watchRun(place.context, runId, () => undefined);
  } finally {
    await off(place);
  }
  return runId;
}

/** Resolves when the machine has been given back, or its unit has given up. */
export async function off({ emulator: { machine } }: Place): Promise<void> {
  await Promise.race([machine.reached('deallocated'), machine.reached('stopped')]);
}

/** Opens a run's model: what it holds, by digest. */
export async function opened(place: Place, runId: string): Promise<ReceiptContent> {
  return openModel(place.runs, place.keys, runId, join(place.dir, 'models', runId));
}

/** Everything the trainer of a run could leave that is worth stealing. */
export async function leftBehind({ runs }: Place, runId: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of runs.list(`${runId}/`)) {
    if (/\/(model|annex)\/|receipt/.test(name)) names.push(name);
  }
  return names;
}

/** Events that trainers have logged so far, oldest first. */
export async function securityEvents({ emulator }: Place): Promise<readonly SecurityEvent[]> {
  const text = await readFile(emulator.deployment.emulator?.logs.trainer ?? '', 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as SecurityEvent);
}

/** Three clouds of points, by a small generator of its own so that every run of a test sees the same rows. */
export function flowers(rows: number): string {
  let state = 7;
  const random = () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
  const lines = Array.from({ length: rows }, () => {
    const label = Math.floor(random() * 3);
    const features = Array.from({ length: 8 }, (_, i) => (label * ((i % 3) - 1) + random() * 1.5).toFixed(4));
    return [...features, label].join(',');
  });
  return `${['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'label'].join(',')}\n${lines.join('\n')}\n`;
}
