import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { adoptObjects, parseObjectBinding } from '../../runtime/data/adopt-objects.ts';
import { readDatasetFile } from '../../runtime/data/dataset-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { count, terminalReporter } from '../progress.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { vaultKey } from '../run/vault-key.ts';

interface AdoptFlags {
  readonly inputPath: string;
  readonly binding: readonly string[];
  readonly datasetVersion: string;
  readonly keyName?: string;
  readonly ownerKey: string;
  readonly deployment?: string;
  readonly json?: boolean;
}

export function adoptCommand(): Command {
  return new Command('adopt')
    .description('sign a dataset that your own program sealed with an Azure SDK')
    .requiredOption('-b, --binding <files...>', 'NAME.binding.json of each object, as its writer left it')
    .option('-i, --input-path <folder>', 'folder with the dataset.json of its rows', 'processed')
    .option('--dataset-version <number>', 'version whose folder in the store holds the objects', '1')
    .option('-k, --key-name <name>', 'vault key they are sealed to, with or without its digest (default: the newest)')
    .option('--owner-key <file>', 'your local key: it opens the escrow slots and signs', DEFAULT_KEY_FILE)
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ ctrain adopt --binding train.enc.binding.json validation.enc.binding.json test.enc.binding.json

Every object is read back from the store, opened with your key and checked against its binding before anything is signed.
How a program binds what it seals: docs/python.md.`,
    )
    .action(async (flags: AdoptFlags) => {
      const keys = await loadLocalKeys(flags.ownerKey);
      const version = Number(flags.datasetVersion);
      if (!Number.isSafeInteger(version) || version < 1)
        throw new SecureTrainingError('CONFIG_INVALID', '--dataset-version: wanted a whole number from 1');
      const description = await readDatasetFile(flags.inputPath);
      const bindings = await Promise.all(flags.binding.map(readBinding));
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      const context = await openContext(flags.deployment, reporter.line);
      try {
        const { deployment, network, credential } = context;
        const kek = await vaultKey(context, chooseKeyName(deployment, flags.keyName), reporter.line);
        const adopted = await reporter.step(
          'adopt',
          (show) =>
            adoptObjects({
              store: blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets'),
              ownerKey: keys.signing,
              escrowKey: keys.decryption,
              keyId: kek.keyId,
              description,
              version,
              bindings,
              onObject: (name, index) => show({ fraction: index / bindings.length, detail: name }),
            }),
          ({ manifest, prefix }) => `${count(manifest.objects.length)} objects at ${prefix}`,
        );
        if (flags.json === true) console.log(JSON.stringify(adopted));
        else console.log(`next: ctrain propose --dataset ${adopted.prefix}`);
      } finally {
        await context.close();
      }
    });
}

async function readBinding(path: string) {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new SecureTrainingError('CONFIG_INVALID', `there is no binding at ${path}`, { cause });
  });
  return parseObjectBinding(bytes, path);
}
