import { readFile } from 'node:fs/promises';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../runtime/training-config.ts';
import { buildTrainerBundle } from '../bundle.ts';
import type { Context } from '../context.ts';
import { bundleCustom, type CustomBundle, customSources } from './bundle-custom.ts';

/** Sizes for a configuration that leaves them to the data, where there are none yet: the deck's. */
const UNFITTED = { input_size: 784, hidden_size: 512, output_size: 10 };

/** The custom modules that a configuration file names, bundled; `undefined` where it names none. */
export async function customOf(
  configFile: string | undefined,
): Promise<{ readonly custom: CustomBundle; readonly config: TrainingConfig } | undefined> {
  if (configFile === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(await readFile(configFile, 'utf8'));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${configFile}: there is no configuration that is JSON`, { cause });
  }
  const config = parseTrainingConfig(value, configFile, UNFITTED);
  const sources = customSources(configFile, config.training);
  return sources === undefined ? undefined : { custom: await bundleCustom(sources), config };
}

/** A trainer with custom modules in it, as a file for an emulator to start. */
export interface CustomTrainer {
  readonly file: string;
  readonly sha256: string;
}

export async function buildCustomTrainer(custom: CustomBundle): Promise<CustomTrainer> {
  // One name: an emulator reads it when it starts, and what is deployed is held against the digest afterwards.
  const file = '.ctrain/trainer.tar';
  const { sha256 } = await buildTrainerBundle(file, { custom });
  return { file, sha256 };
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` where the deployed trainer is another than these sources make */
export function requireDeployed({ deployment }: Context, trainer: CustomTrainer, configFile: string): void {
  const found = deployment.trainer.bundleSha256;
  if (found === trainer.sha256) return;
  const remedy =
    deployment.kind === 'emulator'
      ? `stop the running emulator, or start it with 'ctrain emulator --config ${configFile}'`
      : `'ctrain publish-trainer --config ${configFile}' puts it into the store; its digest goes into the environment file`;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `the deployed trainer is ${found.slice(0, 12)}, with this custom code it would be ${trainer.sha256.slice(0, 12)}: ${remedy}`,
  );
}
