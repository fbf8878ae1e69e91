import { Command } from 'commander';
import type { ReceiptVerdict, Verdict } from '../../runtime/verify-receipt.ts';
import { VERDICT_EXIT_CODES } from '../../runtime/verify-receipt.ts';
import { AMD_LISTS } from '../run/read-revocation-lists.ts';
import { verifyFolder } from '../run/verify-folder.ts';

interface VerifyFlags {
  readonly owner: readonly string[];
  readonly agreementDigest?: string;
  readonly emulatorRoots?: string;
  readonly crl?: readonly string[];
  readonly json?: boolean;
}

const MEANING: Readonly<Record<Verdict, string>> = {
  AUTHENTIC: 'a vault of the owners you named released its key to this very run, on hardware that AMD vouches for',
  CONSISTENT: 'everything fits, but anybody with a confidential VM could have made it: name the owners with --owner',
  EMULATED: 'everything fits, on an emulated machine: it proves how the system works, and nothing about secrecy',
  REJECTED: 'this receipt does not hold',
};

export function verifyCommand(): Command {
  return new Command('verify')
    .description('check the receipt of a run, offline')
    .argument('<folder>', "what 'ctrain open-model' left")
    .option('--owner <thumbprint...>', "ids of the data owners' keys, known from elsewhere", [])
    .option('--agreement-digest <sha256>', 'digest of the agreement, known from elsewhere')
    .option('--emulator-roots <file>', 'check against the roots of an emulator: never more than EMULATED')
    .option('--crl <file...>', `AMD's revocation list of the machine's generation, from ${AMD_LISTS}`)
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain verify models/run-1 --owner kR3...Yw
  $ ctrain verify models/run-1 --owner kR3...Yw --crl Genoa.crl
  $ ctrain verify models/run-1 --emulator-roots .ctrain/emulator/roots.json

Exit codes: ${Object.entries(VERDICT_EXIT_CODES)
        .map(([verdict, code]) => `${code} ${verdict}`)
        .join(', ')}.`,
    )
    .action(async (folder: string, flags: VerifyFlags) => {
      const result = await verifyFolder(folder, {
        owners: flags.owner,
        ...(flags.agreementDigest === undefined ? {} : { agreementDigest: flags.agreementDigest }),
        ...(flags.emulatorRoots === undefined ? {} : { emulatorRoots: flags.emulatorRoots }),
        ...(flags.crl === undefined ? {} : { revocationLists: flags.crl }),
      });
      if (flags.json === true) console.log(JSON.stringify(result));
      else for (const line of verdictLines(result)) console.log(line);
      process.exitCode = VERDICT_EXIT_CODES[result.verdict];
    });
}

export function verdictLines({ verdict, checks }: ReceiptVerdict): string[] {
  return [
    ...checks.map(({ name, passed, detail }) => `${passed ? '✓' : '✗'} ${name}${detail === '' ? '' : `: ${detail}`}`),
    `${verdict}: ${MEANING[verdict]}`,
  ];
}
