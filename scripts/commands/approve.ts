import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { approveAgreement, explainAgreement, readAgreement, requireReviewed } from '../run/approve.ts';

interface ApproveFlags {
  readonly agreement: string;
  readonly ownerKey: string;
  readonly reviewed?: string;
  readonly yes?: boolean;
  readonly deployment?: string;
}

export function approveCommand(): Command {
  return new Command('approve')
    .description('read what an agreement says, sign it, and let the trainer ask for your key')
    .option('-a, --agreement <file>', 'the agreement', 'agreement.dsse.json')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--reviewed <digest>', 'SHA-256 of the custom code that you have read, where there is any')
    .option('-y, --yes', 'do not ask')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText('after', '\nExample:\n  $ ctrain approve --agreement agreement.dsse.json')
    .action(async (flags: ApproveFlags) => {
      const keys = await loadLocalKeys(flags.ownerKey);
      const bytes = await readAgreementFile(flags.agreement);
      for (const line of explainAgreement(readAgreement(bytes))) console.log(line);
      requireReviewed(readAgreement(bytes), flags.reviewed);
      if (flags.yes !== true) await confirm('Sign this?');
      const context = await openContext(flags.deployment, console.error);
      try {
        await writeFileAtomic(
          flags.agreement,
          serialiseEnvelope(await approveAgreement(context, keys, bytes, reviewing(flags))),
        );
        console.log(
          `signed as ${keys.name} (${keys.ownerId.slice(0, 12)}); next: ctrain train --agreement ${flags.agreement}`,
        );
      } finally {
        await context.close();
      }
    });
}

function reviewing({ reviewed }: ApproveFlags): { reviewed?: string } {
  return reviewed === undefined ? {} : { reviewed };
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` */
export async function readAgreementFile(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `no agreement at ${path}: 'ctrain propose' writes one`, { cause });
  }
}

/** @throws {@link SecureTrainingError} `CONSENT_MISSING` for anything but yes, and where nobody can be asked */
export async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new SecureTrainingError(
      'CONSENT_MISSING',
      `${question} There is no terminal to ask on: say --yes if that is what you mean`,
    );
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`\n${question} [y/N] `);
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new SecureTrainingError('CONSENT_MISSING', 'not signed');
}
