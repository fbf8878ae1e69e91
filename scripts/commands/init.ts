import { access } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { Command } from 'commander';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { createLocalKeys, DEFAULT_KEY_FILE } from '../local-keys.ts';

/** Sizes and epochs are left out: they are taken to fit the data. */
const DEFAULT_CONFIGURATION = { training: { batch_size: 128, learning_rate: 0.001, seed: 42 } };

export function initCommand(): Command {
  return new Command('init')
    .description('make one local key (data owner, model owner and recipient in one) and a training.json')
    .option('--owner-key <file>', 'where the key goes', DEFAULT_KEY_FILE)
    .option('-c, --config <file>', 'where the configuration goes', 'training.json')
    .option('-n, --name <name>', 'name that others see in agreements', userInfo().username)
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain init --name "Hospital A"\n\nThe key file is readable by you alone and is never overwritten. Keep a copy: models are sealed to it.',
    )
    .action(async ({ ownerKey, config, name }: { ownerKey: string; config: string; name: string }) => {
      const keys = await createLocalKeys(ownerKey, name);
      console.log(`key            ${ownerKey} (${keys.ownerId.slice(0, 12)}, ${name})`);
      const exists = await access(config).then(
        () => true,
        () => false,
      );
      if (!exists) await writeFileAtomic(config, `${JSON.stringify(DEFAULT_CONFIGURATION, null, 2)}\n`);
      console.log(`configuration  ${config}${exists ? ' (left as it was)' : ''}`);
      console.log('next           ctrain train --data YOUR.csv');
    });
}
