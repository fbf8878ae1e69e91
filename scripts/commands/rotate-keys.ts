import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type Context, openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, type LocalKeys, loadLocalKeys } from '../local-keys.ts';
import { count, type Reporter, terminalReporter } from '../progress.ts';
import { type EscrowPair, escrowInVault, fileEscrow } from '../run/escrow-key.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { type OldCopies, type ReencryptedKeys, reencryptKeys, retireVersion } from '../run/reencrypt.ts';
import type { RenewedAgreement } from '../run/renew-agreements.ts';
import { type RotatedKeys, type RotateKeysOptions, retireKey, rotateKeys } from '../run/rotate-keys.ts';
import { showing } from '../show-data-progress.ts';
import { confirm } from './approve.ts';

/** Where proposals go that replace agreements about an older key. */
const DEFAULT_PROPOSALS = 'agreements';

interface RotateFlags {
  readonly dataset?: string;
  readonly keyName?: string;
  readonly existing?: boolean;
  readonly reencrypt?: boolean;
  readonly retire?: string;
  readonly escrowKey?: string;
  readonly agreement?: readonly string[];
  readonly proposals: string;
  readonly ownerKey: string;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function rotateKeysCommand(): Command {
  return new Command('rotate-keys')
    .description('give your datasets another vault key, or other content keys, or retire what they had')
    .option('--dataset <name>', 'one dataset, all its versions (default: all of yours in the store)')
    .option('-k, --key-name <name>', 'vault key, with or without its digest (default: the newest)')
    .option('--existing', 'rotate to the newest version of that key there is, instead of making one')
    .option('--reencrypt', 'seal the newest version anew, as another: for a content key that somebody may have')
    .option('--retire <what>', 'disable this key version, or delete OWNER/DATASET/VERSION, if nothing refers to it')
    .option('--escrow-key <key>', "vault key that opens your slots, by name or id (default: your key file's)")
    .option('-a, --agreement <files...>', 'agreements to prepare again of which the store has no run')
    .option('-p, --proposals <folder>', 'where agreements go that were prepared again', DEFAULT_PROPOSALS)
    .option('--owner-key <file>', 'your local key: it opens the escrow slots and signs the record', DEFAULT_KEY_FILE)
    .option('-y, --yes', 'do not ask before a version is deleted')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain rotate-keys
  $ ctrain rotate-keys --dataset mnist --key-name training-key-2 --existing
  $ ctrain rotate-keys --dataset mnist --reencrypt
  $ ctrain rotate-keys --retire https://VAULT/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef
  $ ctrain rotate-keys --retire OWNER/mnist/1

Only key slots change: no object is read, no manifest signed anew, and a training that is running goes on. With --reencrypt
every object is opened here and sealed under a fresh content key, as the next version; the old one stays until it is
retired. Run either again after an interruption. Agreements name keys and manifests: those that name what was replaced are
prepared again, for everybody to approve, and work until it is retired.
Expiry is not revocation: a vault releases an expired key. Withdrawing is removing the release role or retiring the key.
Nothing takes back what was read: whoever has had a content key, or a row, keeps what they read with it.`,
    )
    .action(async (flags: RotateFlags) => {
      refuseTogether(flags);
      const keys = await loadLocalKeys(flags.ownerKey);
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      const context = await openContext(flags.deployment, reporter.line);
      try {
        for (const line of await linesFor(context, keys, flags, reporter)) console.log(line);
      } finally {
        await context.close();
      }
    });
}

function refuseTogether({ retire, dataset, existing, reencrypt }: RotateFlags): void {
  if (retire === undefined || (dataset === undefined && existing !== true && reencrypt !== true)) return;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    '--retire rotates nothing: found --dataset, --existing or --reencrypt beside it',
  );
}

async function linesFor(
  context: Context,
  keys: LocalKeys,
  flags: RotateFlags,
  reporter: Reporter,
): Promise<readonly string[]> {
  const { json, retire } = flags;
  if (retire !== undefined) return retired(context, keys, retire, flags);
  const file = fileEscrow(keys);
  const escrow =
    flags.escrowKey === undefined ? file : await escrowInVault(context, flags.escrowKey, [], reporter.line);
  const options = optionsOf(context, flags, escrow, file);
  if (flags.reencrypt === true) {
    const done = await reporter.step(
      're-encrypt',
      (show) => reencryptKeys(context, keys, { ...options, escrow, log: reporter.line, onProgress: showing(show) }),
      ({ datasets }) => `${count(datasets.reduce((sum, { sealed }) => sum + sealed, 0))} objects sealed anew`,
    );
    return json === true ? [JSON.stringify(machineReadableReencrypted(done))] : explainReencrypted(done);
  }
  const rotated = await reporter.step(
    'rotate keys',
    (show) => rotateKeys(context, keys, { ...options, log: reporter.line, onProgress: showing(show) }),
    summary,
  );
  return json === true ? [JSON.stringify(machineReadable(rotated))] : explain(rotated);
}

function optionsOf(
  { deployment }: Context,
  flags: RotateFlags,
  escrow: EscrowPair,
  file: EscrowPair,
): Omit<RotateKeysOptions, 'log'> {
  return {
    keyName: chooseKeyName(deployment, flags.keyName),
    existing: flags.existing === true,
    // What was sealed before the vault had an escrow key opens with the file.
    escrowKeys: escrow === file ? [file.open] : [escrow.open, file.open],
    agreementFiles: flags.agreement ?? [],
    proposals: flags.proposals,
    now: new Date(),
    ...(flags.dataset === undefined ? {} : { dataset: flags.dataset }),
  };
}

async function retired(context: Context, keys: LocalKeys, what: string, flags: RotateFlags): Promise<string[]> {
  if (what.startsWith('https://')) {
    const { slots } = await retireKey(context, keys, what);
    if (flags.json === true) return [JSON.stringify({ retired: what, slots })];
    return [`disabled ${what}; ${count(slots)} key slots of it removed`];
  }
  const { deleted, copies } = await retireVersion(context, keys, what, async (blobs) => {
    if (flags.yes !== true) await confirm(`Delete ${count(blobs)} blobs of ${what}?`);
  });
  if (flags.json === true) return [JSON.stringify({ retired: what, deleted, copies })];
  const remains = remainsOf(copies);
  return [
    `deleted ${count(deleted)} blobs of ${what}`,
    remains === ''
      ? 'the store keeps no other copy of it'
      : `still there until their retention ends, or until you delete them: ${remains}`,
  ];
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
    ...agreements.flatMap(explainAgreement),
    ...old.slice(0, 1).map((keyId) => `later: ctrain rotate-keys --retire ${keyId}`),
  ];
}

function explainReencrypted({ to, datasets, agreements, old }: ReencryptedKeys): string[] {
  return [
    `key   ${to}`,
    ...datasets.map(
      ({ manifest, from, prefix }) =>
        `${manifest.dataset} version ${from} is now version ${manifest.version}: ${count(manifest.objects.length)} objects at ${prefix}, each compared with the old one`,
    ),
    'mind  whoever has read the data, or copied an old object and its key, keeps them: this protects what comes, not what was',
    ...agreements.flatMap(explainAgreement),
    ...old.map(({ prefix, copies }) => `still to be deleted: ${prefix}: ${remainsOf(copies)}`),
    ...old.filter(({ copies }) => copies.live > 0).map(({ prefix }) => `later: ctrain rotate-keys --retire ${prefix}`),
  ];
}

function explainAgreement({ name, file, hindrance, signers }: RenewedAgreement): string[] {
  if (file === undefined) return [`agreement ${name} was not prepared again: ${hindrance}`];
  return [
    `agreement ${name} names what was replaced; prepared again, to be signed by ${signers.join(', ')}:`,
    `  ctrain approve --agreement ${file}`,
  ];
}

function remainsOf({ live, version, snapshot, deleted }: OldCopies['copies']): string {
  return [
    live === 0 ? undefined : `${count(live)} blobs`,
    version === 0 ? undefined : `${count(version)} older versions`,
    snapshot === 0 ? undefined : `${count(snapshot)} snapshots`,
    deleted === 0 ? undefined : `${count(deleted)} deleted ones that can come back`,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
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
    agreements,
  };
}

function machineReadableReencrypted({ to, datasets, agreements, old }: ReencryptedKeys): object {
  return {
    to,
    datasets: datasets.map(({ manifest, manifestDigest, from, prefix, sealed }) => ({
      dataset: manifest.dataset,
      from,
      version: manifest.version,
      prefix,
      manifestDigest,
      objects: manifest.objects.length,
      sealed,
    })),
    agreements,
    old,
  };
}
