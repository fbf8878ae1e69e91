import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { count, terminalReporter } from '../progress.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { type RotatedKeys, retireKey, rotateKeys } from '../run/rotate-keys.ts';
import { showing } from '../show-data-progress.ts';

interface RotateFlags {
  readonly dataset?: string;
  readonly keyName?: string;
  readonly existing?: boolean;
  readonly retire?: string;
  readonly ownerKey: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function rotateKeysCommand(): Command {
  return new Command('rotate-keys')
    .description('wrap the content keys of your datasets to a new version of your vault key, or retire an old one')
    .option('--dataset <name>', 'one dataset, all its versions (default: all of yours in the store)')
    .option('-k, --key-name <name>', 'vault key, with or without its digest (default: the newest)')
    .option('--existing', 'rotate to the newest version of that key there is, instead of making one')
    .option('--retire <key-id>', 'disable this version, if nothing refers to it any more; rotates nothing')
    .option('--owner-key <file>', 'your local key: it opens the escrow slots and signs the record', DEFAULT_KEY_FILE)
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain rotate-keys
  $ ctrain rotate-keys --dataset mnist --key-name training-key-2 --existing
  $ ctrain rotate-keys --retire https://VAULT/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef

Only key slots change: no object is read, no manifest signed anew, and a training that is running goes on. Run it again
after an interruption. Agreements name a version of a key: those that name an older one work until it is retired.
Expiry is not revocation: a vault releases an expired key. Withdrawing is removing the release role or retiring the key.
Somebody who has seen a content key keeps it: then seal the data anew, as another version.`,
    )
    .action(async (flags: RotateFlags) => {
      if (flags.retire !== undefined && (flags.dataset !== undefined || flags.existing === true)) {
        throw new SecureTrainingError(
          'CONFIG_INVALID',
          '--retire rotates nothing: found --dataset or --existing beside it',
        );
      }
      const keys = await loadLocalKeys(flags.ownerKey);
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      const context = await openContext(flags.deployment, reporter.line);
      try {
        if (flags.retire !== undefined) {
          const { slots } = await retireKey(context, keys, flags.retire);
          if (flags.json === true) console.log(JSON.stringify({ retired: flags.retire, slots }));
          else console.log(`disabled ${flags.retire}; ${count(slots)} key slots of it removed`);
          return;
        }
        const rotated = await reporter.step(
          'rotate keys',
          (show) =>
            rotateKeys(context, keys, {
              keyName: chooseKeyName(context.deployment, flags.keyName),
              existing: flags.existing === true,
              now: new Date(),
              log: reporter.line,
              onProgress: showing(show),
              ...(flags.dataset === undefined ? {} : { dataset: flags.dataset }),
            }),
          summary,
        );
        if (flags.json === true) console.log(JSON.stringify(machineReadable(rotated)));
        else for (const line of explain(rotated)) console.log(line);
      } finally {
        await context.close();
      }
    });
}

function summary({ datasets }: RotatedKeys): string {
  const objects = datasets.reduce((sum, { rewrapped }) => sum + rewrapped, 0);
  return `${count(objects)} objects of ${count(datasets.length)} dataset version${datasets.length === 1 ? '' : 's'}`;
}

function explain({ to, datasets, agreements }: RotatedKeys): string[] {
  const old = [...new Set(datasets.flatMap(({ from }) => from))].sort();
  return [
    `key   ${to}`,
    ...old.map((keyId) => `was   ${keyId}`),
    ...agreements.map(
      ({ name }) => `agreement ${name} names an older key: propose it again before that key is retired`,
    ),
    ...old.slice(0, 1).map((keyId) => `later: ctrain rotate-keys --retire ${keyId}`),
  ];
}

function machineReadable({ to, datasets, agreements }: RotatedKeys): object {
  return {
    to,
    datasets: datasets.map(({ manifest, from, rewrapped, slotsSha256 }) => ({
      dataset: manifest.dataset,
      version: manifest.version,
      objects: manifest.objects.length,
      rewrapped,
      from,
      slotsSha256,
    })),
    agreements: agreements.map(({ name }) => name),
  };
}
