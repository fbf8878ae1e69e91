import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type MetricPoint, parseMetricHistory } from '../../runtime/metric-history.ts';
import { requireFit } from '../../runtime/open-datasets.ts';
import { chooseDeployment } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { buildCustomTrainer, customOf, requireDeployed } from '../custom/custom-trainer.ts';
import { Interruption, interruptible } from '../interrupt.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { readModelCard } from '../model/card-file.ts';
import { count, type Reporter, terminalReporter } from '../progress.ts';
import { explainAgreement } from '../run/approve.ts';
import { RUN_FOLDER } from '../run/open-model.ts';
import { finishRun, prepareRun } from '../run/pipeline.ts';
import { plainRows } from '../run/plain-rows.ts';
import { tryRun } from '../run/try-run.ts';
import { fingerprint, shortDigest } from '../run/work-folder.ts';
import { combinations, drawn, parseAxis, settings } from '../sweep/grid.ts';
import { sweepPage } from '../sweep/page.ts';
import { checkMetric, DEFAULT_METRIC, ranked, rankingLines } from '../sweep/ranking.ts';
import { type RunTrial, runTrials, type Trial } from '../sweep/trials.ts';
import { confirm } from './approve.ts';
import { readTrainingInput, rowSource, type TrainingFlags, withTrainingFlags } from './training-flags.ts';
import { NOT_CONFIDENTIAL, stateOf, TRY_DIR } from './try.ts';

interface SweepFlags extends TrainingFlags {
  readonly grid: readonly string[];
  readonly random?: string;
  readonly seed: string;
  readonly metric: string;
  readonly sealed?: boolean;
  readonly ownerKey: string;
  readonly modelsDir: string;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function sweepCommand(): Command {
  return withTrainingFlags(
    new Command('sweep').description('train with many configurations and rank them by a validation metric'),
  )
    .option(
      '-g, --grid <field=values>',
      'values to try, as in training.learning_rate=0.001,0.01 (repeatable: every combination)',
      (value: string, before: readonly string[]) => [...before, value],
      [],
    )
    .option('--random <count>', 'so many of the combinations, drawn by --seed (default: all)')
    .option('--seed <number>', 'decides which combinations are drawn', '42')
    .option('--metric <name>', 'what they are ranked by', DEFAULT_METRIC)
    .option('--sealed', 'each a run on sealed rows, with an agreement and a receipt (default: on plain rows, here)')
    .option('--owner-key <file>', 'with --sealed: your local key', DEFAULT_KEY_FILE)
    .option('-m, --models-dir <folder>', 'where models, table and page go', 'models')
    .option('-y, --yes', 'with --sealed: sign without asking')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'with --sealed: deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain sweep --data data.csv --grid training.learning_rate=0.001,0.003,0.01
  $ ctrain sweep --data data.csv --grid training.learning_rate=0.001,0.01 --grid training.hidden_size=32,128 --random 3
  $ ctrain sweep --data data.csv --grid training.seed=1,2,3 --sealed --yes

What is finished is not made again: stopped at any moment, the same command goes on.`,
    )
    .action(async (flags: SweepFlags) => {
      const { data } = flags;
      if (data === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'sweep wants --data FILE');
      const metric = checkMetric(flags.metric);
      const all = combinations(flags.grid.map(parseAxis));
      const seed = wholeNumber('--seed', flags.seed, 0);
      const chosen = flags.random === undefined ? all : drawn(all, wholeNumber('--random', flags.random, 1), seed);
      // Every one is checked before the first is trained.
      for (const each of chosen) await readTrainingInput({ ...flags, set: [...flags.set, ...settings(each)] });
      const { configFile, initialWeights } = await readTrainingInput(flags);
      const custom = (await customOf(configFile))?.custom;
      const reporter = terminalReporter(process.stdout, { quiet: flags.json === true });
      const config = configFile === undefined ? '' : await readFile(configFile, 'utf8');
      const about = [await fingerprint(rowSource(flags, data), { ownerId: '' }), config, flags.set, custom?.sha256];
      const name = `sweep-${shortDigest(JSON.stringify([...about, flags.sealed === true, initialWeights && toHex(sha256(initialWeights))]))}`;
      const file = join(flags.modelsDir, `${name}.json`);
      const trials = await interruptible((signal) => {
        const train = (run: RunTrial) =>
          runTrials(file, chosen, run, (_, done) => {
            signal.throwIfAborted();
            reporter.line(`  ${done} of ${chosen.length} trained`);
          }).catch((error: unknown) => {
            throw signal.aborted ? new Interruption('stopped: the same command goes on') : error;
          });
        return flags.sealed === true
          ? sealedTrials(flags, data, custom, configFile, reporter, train)
          : plainTrials(flags, data, custom, reporter, signal, train);
      });
      const best = ranked(trials, metric);
      const page = join(flags.modelsDir, `${name}.html`);
      await writeFileAtomic(
        page,
        sweepPage(`${count(trials.length)} runs on ${data}`, trials, metric, await curvesOf(trials)),
      );
      if (flags.json === true) console.log(JSON.stringify({ metric, trials: best, file, page }));
      else for (const line of [...rankingLines(trials, metric), `as a page: ${page}`]) reporter.line(line);
      if (best[0]?.metrics === undefined)
        throw new SecureTrainingError('CONFIG_INVALID', `all ${trials.length} failed: ${best[0]?.error ?? ''}`);
    });
}

type Train = (run: RunTrial) => Promise<readonly Trial[]>;

async function plainTrials(
  flags: SweepFlags,
  data: string,
  custom: CustomBundle | undefined,
  reporter: Reporter,
  signal: AbortSignal,
  train: Train,
): Promise<readonly Trial[]> {
  console.error(NOT_CONFIDENTIAL);
  const source = rowSource(flags, data);
  const rows = await reporter.step('prepare data', () => plainRows(source, TRY_DIR, signal));
  try {
    const identity = await fingerprint(source, { ownerId: '' });
    return await train(async (combination) => {
      const input = await readTrainingInput({ ...flags, set: [...flags.set, ...settings(combination)] });
      const config = input.configuration(rows.schema, rows.trainRows);
      requireFit(rows.schema, config);
      const checkpointFile = join(
        TRY_DIR,
        `${shortDigest(JSON.stringify([identity, config, custom?.sha256]))}.checkpoint`,
      );
      const { initialWeights } = input;
      const { folder, card } = await reporter.step(settings(combination).join(' '), (show) =>
        tryRun({
          ...{ rows, config, custom, initialWeights, checkpointFile, modelsDir: flags.modelsDir, signal },
          onProgress: (progress) => show(stateOf(progress)),
        }),
      );
      return { folder, metrics: card.metrics };
    });
  } finally {
    await rows.remove();
  }
}

async function sealedTrials(
  flags: SweepFlags,
  data: string,
  custom: CustomBundle | undefined,
  configFile: string | undefined,
  reporter: Reporter,
  train: Train,
): Promise<readonly Trial[]> {
  const keys = await loadLocalKeys(flags.ownerKey);
  const trainer = custom === undefined ? undefined : await buildCustomTrainer(custom);
  const say = flags.json === true ? console.error : reporter.line;
  const context = await (await chooseDeployment(flags.deployment, say, trainer?.file)).open();
  try {
    if (trainer !== undefined) requireDeployed(context, trainer, configFile ?? 'training.json');
    return await train(async (combination) => {
      reporter.line(settings(combination).join(' '));
      const input = await readTrainingInput({ ...flags, set: [...flags.set, ...settings(combination)] });
      const options = {
        data: rowSource(flags, data),
        configuration: input.configuration,
        ...(custom === undefined ? {} : { custom }),
        workDir: join('.ctrain', 'work'),
        keepPlaintext: false,
        consent: async (proposed: Parameters<typeof explainAgreement>[0]) => {
          for (const line of explainAgreement(proposed)) say(`  ${line}`);
          if (flags.yes !== true) await confirm('Sign this?');
        },
      };
      const { agreement } = await prepareRun(context, keys, options, reporter);
      const { folder } = await finishRun(context, keys, agreement, flags.modelsDir, reporter, input.initialWeights);
      return { folder, metrics: (await readModelCard(folder)).metrics };
    });
  } finally {
    await context.close();
  }
}

async function curvesOf(trials: readonly Trial[]): Promise<Map<string, readonly MetricPoint[]>> {
  const curves = new Map<string, readonly MetricPoint[]>();
  for (const { folder } of trials) {
    const bytes =
      folder === undefined ? undefined : await readFile(join(folder, RUN_FOLDER.history)).catch(() => undefined);
    if (folder !== undefined && bytes !== undefined) curves.set(folder, parseMetricHistory(Uint8Array.from(bytes)));
  }
  return curves;
}

function wholeNumber(name: string, text: string, low: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= low) return Number(text);
  throw new SecureTrainingError('CONFIG_INVALID', `${name}: found ${text}, wanted a whole number from ${low}`);
}
