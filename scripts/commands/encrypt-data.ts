import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { importJwk, publicJwk, type RsaPublicJwk, thumbprint } from '../../runtime/crypto/jwk.ts';
import { type SealingKey, type SealResult, sealDataset } from '../../runtime/data/seal-dataset.ts';
import { DEFAULT_SEALED_FOLDER, planSealing } from '../../runtime/data/sealing-targets.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseKeyId, thumbprintKeyId } from '../../runtime/keys/slots.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, type LocalKeys, loadLocalKeys } from '../local-keys.ts';
import { bytes, count, terminalReporter } from '../progress.ts';
import { escrowInVault, fileEscrow } from '../run/escrow-key.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { vaultKey } from '../run/vault-key.ts';
import { showing } from '../show-data-progress.ts';

/** Each takes memory for a shard or two. */
const MAXIMUM_JOBS = 64;

interface EncryptFlags {
  readonly inputPath: string;
  readonly outputPath?: string;
  readonly keyName?: string;
  readonly keyFile?: string;
  readonly ownerKey: string;
  readonly dataset?: string;
  readonly datasetVersion?: string;
  readonly escrow: boolean;
  readonly escrowKey?: string;
  readonly jobs?: string;
  readonly deployment?: string;
  readonly json?: boolean;
}

export function encryptDataCommand(): Command {
  return new Command('encrypt-data')
    .description('seal prepared data under your vault key and sign what was sealed')
    .requiredOption('-i, --input-path <path>', 'file that prepare-data wrote, or its folder for all splits')
    .option(
      '-o, --output-path <path>',
      `sealed file, or folder for all splits (default: ${DEFAULT_SEALED_FOLDER}/NAME.enc)`,
    )
    .option(
      '-k, --key-name <name>',
      'vault key, with or without the digest at the end of its name (default: the newest)',
    )
    .option('--key-file <jwk>', 'public RSA key as a JWK file, instead of asking the vault')
    .option('--owner-key <file>', 'your local key: it signs, and can open what is sealed', DEFAULT_KEY_FILE)
    .option('--dataset <name>', 'name of the dataset (default: the one given to prepare-data)')
    .option(
      '--dataset-version <number>',
      'lowest version to give it (default: the one being worked on, or the next after an upload)',
    )
    .option('--escrow-key <key>', 'vault key of yours that may unwrap, by name or id, instead of your key file')
    .option(
      '--no-escrow',
      'no key slot for your own key: data whose vault key is lost is lost, and no key can be rotated',
    )
    .option('--jobs <count>', 'objects sealed at the same time (default: as many as pay, by size and processor)')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain encrypt-data --input-path processed/train.csv --output-path encrypted/train.enc --key-name training-key
  $ ctrain encrypt-data -i processed                 all splits into encrypted/
  $ ctrain encrypt-data -i processed --key-file kek.jwk   without a network

An escrow slot is how you, and nobody else, open what you sealed without a machine: rotate-keys needs it. Its key is your
key file's, or with --escrow-key one of a vault of your own: not exportable, key_ops with unwrapKey, the role for you alone.
Only its public half is used here. --no-escrow costs both: no recovery and no rotation, short of sealing the rows again.

A split of more than 8,192 rows (or 16 MiB) becomes NAME-00000.enc, NAME-00001.enc and so on. A vault key is refused unless
it is exportable, its release policy is locked and wrapKey is all that it may do.`,
    )
    .action(async (flags: EncryptFlags) => {
      const { inputPath, outputPath, dataset, datasetVersion, json } = flags;
      const jobs = flags.jobs === undefined ? undefined : readJobs(flags.jobs);
      const owner = await loadLocalKeys(flags.ownerKey);
      const reporter = terminalReporter(process.stderr, { quiet: json === true });
      const { kek, escrow } = await findKeys(flags, owner, reporter.line);
      const result = await reporter.step(
        'encrypt data',
        (show) =>
          sealDataset({
            inputPath,
            kek,
            ownerKey: owner.signing,
            onProgress: showing(show),
            ...(outputPath === undefined ? {} : { outputPath }),
            ...(escrow === undefined ? {} : { escrow: escrow.jwk, escrowKeyId: escrow.keyId }),
            ...(jobs === undefined ? {} : { jobs }),
            ...(dataset === undefined ? {} : { dataset }),
            ...(datasetVersion === undefined ? {} : { lowestVersion: Number(datasetVersion || Number.NaN) }),
          }),
        summary,
      );
      if (json === true) {
        const { folder, digest, manifest, dropped } = result;
        console.log(
          JSON.stringify({
            folder,
            dataset: manifest.dataset,
            version: manifest.version,
            manifestDigest: digest,
            sealed: result.sealed,
            dropped,
            keyId: kek.keyId,
          }),
        );
      } else {
        if (result.dropped.length > 0) console.log(`left out, prepared differently: ${result.dropped.join(', ')}`);
        console.log(`next: ctrain upload --input-path ${result.folder}`);
      }
    });
}

function readJobs(text: string): number {
  const jobs = Number(text);
  if (Number.isSafeInteger(jobs) && jobs >= 1 && jobs <= MAXIMUM_JOBS) return jobs;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `--jobs: found ${text}, wanted a whole number from 1 to ${MAXIMUM_JOBS}`,
  );
}

interface Keys {
  readonly kek: SealingKey;
  /** `undefined`: none was asked for. */
  readonly escrow: SealingKey | undefined;
}

async function findKeys(flags: EncryptFlags, owner: LocalKeys, log: (line: string) => void): Promise<Keys> {
  const { keyName, keyFile, escrowKey } = flags;
  if (keyName !== undefined && keyFile !== undefined)
    throw new SecureTrainingError('CONFIG_INVALID', 'found both --key-name and --key-file, wanted one of them');
  if (escrowKey !== undefined && !flags.escrow)
    throw new SecureTrainingError('CONFIG_INVALID', 'found both --escrow-key and --no-escrow, wanted one of them');
  const own = flags.escrow ? fileEscrow(owner).sealTo : undefined;
  if (keyFile !== undefined && escrowKey === undefined) return { kek: await readSealingKey(keyFile), escrow: own };
  // Before an emulator is started for nothing.
  await planSealing(flags.inputPath, flags.outputPath);
  const context = await openContext(flags.deployment, log);
  try {
    const kek =
      keyFile === undefined
        ? await vaultKey(context, chooseKeyName(context.deployment, keyName), log)
        : await readSealingKey(keyFile);
    const escrow = escrowKey === undefined ? own : (await escrowInVault(context, escrowKey, [kek], log)).sealTo;
    return { kek, escrow };
  } finally {
    await context.close();
  }
}

/**
 * A public key from a file: a JWK, whose `kid` names it when that is a versioned vault key.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
async function readSealingKey(path: string): Promise<SealingKey> {
  let value: { kty?: unknown; kid?: unknown };
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} is missing or not JSON, wanted a public RSA key (JWK)`, {
      cause,
    });
  }
  if (value?.kty !== 'RSA' || 'd' in value) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${path}: found ${'d' in Object(value) ? 'a private key' : 'something else'}, wanted a public RSA key (JWK)`,
    );
  }
  const jwk = publicJwk(importJwk(value as RsaPublicJwk)) as RsaPublicJwk;
  if (value.kid === undefined) return { keyId: thumbprintKeyId(thumbprint(jwk)), jwk };
  try {
    parseKeyId(String(value.kid));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: kid is not https://VAULT/keys/NAME/VERSION`, { cause });
  }
  return { keyId: String(value.kid), jwk };
}

function summary({ sealed, manifest, folder }: SealResult): string {
  const rows = sealed.reduce((sum, object) => sum + object.rows, 0);
  const size = sealed.reduce((sum, object) => sum + object.ciphertextSize, 0);
  return `${count(rows)} rows, ${sealed.length} object${sealed.length === 1 ? '' : 's'}, ${bytes(size)}; ${manifest.dataset} version ${manifest.version} in ${folder}`;
}
