/**
 * `npm run live`: on a real confidential virtual machine, keeps what docs/first-deployment.md is waiting for. Opt-in, never
 * part of CI: it needs a machine, an attestation provider and a vault with throw-away keys.
 */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { azureNetwork } from '../../runtime/azure/network.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { EVENT_LOG_PATH } from '../../runtime/catalogue.ts';
import { fromBase64 } from '../../runtime/crypto/bytes.ts';
import { EXIT_CODES, SecureTrainingError } from '../../runtime/errors.ts';
import { openTpm } from '../../runtime/tpm/open.ts';
import { Tpm } from '../../runtime/tpm/tpm.ts';
import { reportError } from '../report-error.ts';
import { capture } from './capture.ts';
import { CAPTURED_QUESTIONS, stepsFor } from './plan.ts';
import { BY_HAND, isQuestionId, type QuestionId } from './questions.ts';
import type { CaptureInputs, KeyVersion } from './step.ts';
import { requireAnswers, stepLine, summaryLines } from './summary.ts';

interface Flags {
  readonly out?: string;
  readonly authority?: string;
  readonly denyingAuthority?: string;
  readonly echoingAuthority?: string;
  readonly vault?: string;
  readonly key?: string;
  readonly keyOfAnotherPolicy?: string;
  readonly disabledKey?: string;
  readonly expiredKey?: string;
  readonly identity?: string;
  readonly identityWithoutRole?: string;
  readonly earlier?: string;
  readonly changeKeys?: true;
  readonly only?: string;
  readonly tpm: string;
  readonly eventLog: string;
  readonly list?: true;
  readonly json?: true;
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('npm run live --')
  .description(
    'Capture what only a real confidential VM can answer (docs/first-deployment.md). Run as root, in the VM.',
  )
  .option('-o, --out <folder>', 'empty folder, for example test/live/DC4as_v5-northeurope-2026-12-01')
  .option('--authority <url>', 'attestation provider, https://HOST')
  .option('--denying-authority <url>', 'a provider whose AzureGuest policy lets nobody in')
  .option('--echoing-authority <url>', 'a provider whose AzureGuest policy issues every input as a claim')
  .option('--vault <host>', 'vault of the throw-away keys')
  .option('--key <name/version>', 'key with key_ops of wrapKey alone')
  .option('--key-of-another-policy <name/version>', 'key whose policy this machine does not meet')
  .option('--disabled-key <name/version>', 'key that is disabled')
  .option('--expired-key <name/version>', 'key that is expired')
  .option('--identity <client id>', 'identity that may read and release keys')
  .option('--identity-without-role <client id>', 'identity of this machine without a role at the vault')
  .option('--earlier <folder>', 'capture of more than eight hours ago: its token has expired, its quote is old')
  .option('--change-keys', 'may rotate the key and make another one beside it')
  .option('--only <ids>', 'questions, for example A1,K2')
  .option('--tpm <path>', 'vTPM', '/dev/tpmrm0')
  .option('--event-log <path>', 'TCG event log', EVENT_LOG_PATH)
  .option('--list', 'print the plan and do nothing')
  .option('--json', 'machine-readable output')
  .exitOverride()
  .action(run);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError))
    process.exitCode = reportError(error, { json: process.argv.includes('--json') });
  else if (error.exitCode !== 0) process.exitCode = EXIT_CODES.CONFIG_INVALID;
}

async function run(flags: Flags): Promise<void> {
  const json = flags.json === true;
  const only = readQuestions(flags.only);
  if (flags.list === true) return list(only, json);
  if (flags.out === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'live wants --out FOLDER');
  console.error(
    `WARNING: ${flags.out} will hold attestation tokens and release replies. Use throw-away keys, delete them afterwards,`,
  );
  console.error('WARNING: and look through every file for ids of your tenant before you commit it.');
  const network = azureNetwork();
  const inputs = await readInputs(flags, (clientId) => managedIdentity(network, clientId));
  const tpm = new Tpm(await openTpm(flags.tpm));
  try {
    const manifest = await capture({
      out: flags.out,
      tpm,
      network,
      trust: AZURE_TRUST,
      now: () => new Date(),
      readEventLog: async () => Uint8Array.from(await readFile(flags.eventLog)),
      inputs,
      packageVersion: version,
      ...(only === undefined ? {} : { only }),
      onStep: json ? () => undefined : (record) => console.log(stepLine(record)),
    });
    if (json) console.log(JSON.stringify(manifest));
    else for (const line of summaryLines(manifest)) console.log(line);
    requireAnswers(manifest);
  } finally {
    await tpm.close();
  }
}

function list(only: readonly QuestionId[] | undefined, json: boolean): void {
  const steps = stepsFor(only ?? CAPTURED_QUESTIONS);
  if (json) {
    console.log(
      JSON.stringify(
        steps.map(({ name, questions, does, file, inputs = [] }) => ({ name, questions, does, file, inputs })),
      ),
    );
    return;
  }
  for (const { name, questions, does } of steps)
    console.log(`${questions.join(',').padEnd(10)}${name.padEnd(24)}${does}`);
  for (const [id, what] of Object.entries(BY_HAND)) console.log(`${id.padEnd(10)}${'by hand'.padEnd(24)}keep ${what}`);
}

function readQuestions(text: string | undefined): readonly QuestionId[] | undefined {
  return text?.split(',').map((id) => {
    if (isQuestionId(id)) return id;
    throw new SecureTrainingError('CONFIG_INVALID', `--only: found "${id}", wanted ids such as A1,K2`);
  });
}

async function readInputs(
  flags: Flags,
  credentialOf: (clientId: string) => NonNullable<CaptureInputs['credential']>,
): Promise<CaptureInputs> {
  const all = {
    authority: readAuthority('--authority', flags.authority),
    denyingAuthority: readAuthority('--denying-authority', flags.denyingAuthority),
    echoingAuthority: readAuthority('--echoing-authority', flags.echoingAuthority),
    vaultHost: flags.vault,
    key: readKey('--key', flags.key),
    keyOfAnotherPolicy: readKey('--key-of-another-policy', flags.keyOfAnotherPolicy),
    disabledKey: readKey('--disabled-key', flags.disabledKey),
    expiredKey: readKey('--expired-key', flags.expiredKey),
    credential: flags.identity === undefined ? undefined : credentialOf(flags.identity),
    credentialWithoutRole:
      flags.identityWithoutRole === undefined ? undefined : credentialOf(flags.identityWithoutRole),
    changeKeys: flags.changeKeys,
    ...(flags.earlier === undefined ? {} : await readEarlier(flags.earlier)),
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as CaptureInputs;
}

/** Token and quote of another capture, by the names under which it keeps them. */
async function readEarlier(folder: string): Promise<Pick<CaptureInputs, 'expiredToken' | 'oldQuote'>> {
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8')) as Record<string, string>;
  const [{ token }, quote] = await Promise.all([read('attest-random-unique.json'), read('quote-plain.json')]);
  const { message = '', signature = '', pcrs } = quote;
  return {
    ...(token === undefined ? {} : { expiredToken: token }),
    oldQuote: {
      message: fromBase64(message, 'quote'),
      signature: fromBase64(signature, 'signature'),
      pcrs: pcrs as unknown as Readonly<Record<string, string>>,
    },
  };
}

function readKey(flag: string, text: string | undefined): KeyVersion | undefined {
  if (text === undefined) return undefined;
  const [name, keyVersion, ...more] = text.split('/');
  if (name && keyVersion && more.length === 0) return { name, version: keyVersion };
  throw new SecureTrainingError('CONFIG_INVALID', `${flag}: found "${text}", wanted NAME/VERSION`);
}

function readAuthority(flag: string, text: string | undefined): string | undefined {
  if (text === undefined || /^https:\/\/[a-z0-9.-]+$/.test(text)) return text;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${flag}: found "${text}", wanted https://HOST without a slash at the end`,
  );
}
