import { Command } from 'commander';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { openContext } from '../context.ts';
import { customOf } from '../custom/custom-trainer.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { readOpenedModel } from '../model/opened-model.ts';
import { explainAgreement } from '../run/approve.ts';
import { readConfiguration } from '../run/configuration.ts';
import { hasCode, measured } from '../run/evaluate.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { proposeAgreement } from '../run/propose.ts';

interface ProposeFlags {
  readonly dataset: string[];
  readonly config: string;
  readonly outputPath: string;
  readonly name: string;
  readonly keyName?: string;
  readonly ownerKey: string;
  readonly maxRuns: string;
  readonly days: string;
  readonly metric: readonly string[];
  readonly evaluate?: string;
  readonly deployment?: string;
}

const DAY_MS = 86_400_000;

export function proposeCommand(): Command {
  return new Command('propose')
    .description('write an agreement: which datasets, which configuration, which trainer, who gets the model')
    .requiredOption('-s, --dataset <prefix...>', "uploaded datasets, as 'ctrain upload' printed them")
    .option('-c, --config <file>', 'training configuration', 'training.json')
    .option('-o, --output-path <file>', 'where the agreement goes', 'agreement.dsse.json')
    .option('-n, --name <name>', 'name of the agreement', 'training')
    .option('-k, --key-name <name>', 'release key of the data, with or without its digest (default: the newest)')
    .option('--owner-key <file>', 'your local key', DEFAULT_KEY_FILE)
    .option('--max-runs <count>', 'how many runs it allows', '10')
    .option('--days <count>', 'how long it holds', '30')
    .option('-e, --evaluate <model>', "instead of training: measure this model, a folder that 'ctrain open-model' left")
    .option(
      '--metric <name...>',
      'let these out too: test_macro_recall, test_confusion (counts, for who gets the model)',
      [],
    )
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExamples:\n  $ ctrain propose --dataset OWNER/digits/1 --config training.json\n  $ ctrain propose --dataset OWNER/digits/1 --evaluate models/RUN --metric test_confusion\n\nNobody has signed it yet: every party runs ctrain approve.',
    )
    .action(async (flags: ProposeFlags) => {
      const keys = await loadLocalKeys(flags.ownerKey);
      const model = flags.evaluate === undefined ? undefined : await readOpenedModel(flags.evaluate);
      const configuration = model === undefined ? await readConfiguration(flags.config) : measured(model).configuration;
      const maxRuns = positive('--max-runs', flags.maxRuns);
      const days = positive('--days', flags.days);
      const context = await openContext(flags.deployment, console.error);
      try {
        const named = model === undefined || hasCode(model) ? await customOf(flags.config) : undefined;
        const { agreement, envelope } = await proposeAgreement(context, keys, {
          name: flags.name,
          prefixes: flags.dataset,
          keyName: chooseKeyName(context.deployment, flags.keyName),
          configuration,
          maxRuns,
          metrics: flags.metric,
          ...(named === undefined ? {} : { custom: named.custom }),
          notAfter: new Date(Date.now() + days * DAY_MS),
        });
        await writeFileAtomic(flags.outputPath, serialiseEnvelope(envelope));
        for (const line of explainAgreement(agreement)) console.log(line);
        console.log(`\nwritten to ${flags.outputPath}; next: ctrain approve --agreement ${flags.outputPath}`);
      } finally {
        await context.close();
      }
    });
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new SecureTrainingError('CONFIG_INVALID', `${flag}: found ${text}, wanted a whole number above 0`);
}
