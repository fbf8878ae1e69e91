import { access, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { createLocalKeys, DEFAULT_KEY_FILE } from '../local-keys.ts';

/** Sizes and epochs are left out: they are taken to fit the data. */
const DEFAULT_CONFIGURATION = { training: { batch_size: 128, learning_rate: 0.002, seed: 42 } };

interface InitFlags {
  readonly ownerKey: string;
  readonly config: string;
  readonly model?: boolean;
  readonly name: string;
}

export function initCommand(): Command {
  return new Command('init')
    .description('make one local key (data owner, model owner and recipient in one) and a training.json')
    .option('--owner-key <file>', 'where the key goes', DEFAULT_KEY_FILE)
    .option('-c, --config <file>', 'where the configuration goes', 'training.json')
    .option('--model', 'write a model.ts with a model of your own, and name it in the configuration')
    .option('-n, --name <name>', 'name that others see in agreements', userInfo().username)
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain init --name "Hospital A"\n\nThe key file is readable by you alone and is never overwritten. Keep a copy: models are sealed to it.',
    )
    .action(async ({ ownerKey, config, model, name }: InitFlags) => {
      const keys = await createLocalKeys(ownerKey, name);
      console.log(`key            ${ownerKey} (${keys.ownerId.slice(0, 12)}, ${name})`);
      const exists = await access(config).then(
        () => true,
        () => false,
      );
      const { training } = DEFAULT_CONFIGURATION;
      const configuration = model === true ? { training: { ...training, model: './model.ts' } } : DEFAULT_CONFIGURATION;
      if (!exists) await writeFileAtomic(config, `${JSON.stringify(configuration, null, 2)}\n`);
      console.log(`configuration  ${config}${exists ? ' (left as it was)' : ''}`);
      if (model === true) console.log(`model          ${await writeModel(join(dirname(config), 'model.ts'))}`);
      console.log('next           ctrain train --data YOUR.csv');
    });
}

/** The example is what is written: a test trains it. */
async function writeModel(path: string): Promise<string> {
  const source = await readFile(new URL('../../examples/deck-model.ts', import.meta.url));
  try {
    await writeFile(path, source, { flag: 'wx' });
    return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return `${path} (left as it was)`;
    throw error;
  }
}
