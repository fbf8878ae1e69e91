#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { SecureTrainingError } from '../runtime/errors.ts';
import { accessLogCommand } from './commands/access-log.ts';
import { adoptCommand } from './commands/adopt.ts';
import { alertsCommand } from './commands/alerts.ts';
import { approveCommand } from './commands/approve.ts';
import { demoCommand } from './commands/demo.ts';
import { diagnoseCommand } from './commands/diagnose.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downloadCommand } from './commands/download.ts';
import { emulatorCommand } from './commands/emulator.ts';
import { encryptDataCommand } from './commands/encrypt-data.ts';
import { errorsCommand } from './commands/errors.ts';
import { evaluateCommand } from './commands/evaluate.ts';
import { explainPolicyCommand } from './commands/explain-policy.ts';
import { initCommand } from './commands/init.ts';
import { inspectCommand } from './commands/inspect.ts';
import { lockKeyCommand } from './commands/lock-key.ts';
import { openModelCommand } from './commands/open-model.ts';
import { predictCommand } from './commands/predict.ts';
import { prepareDataCommand } from './commands/prepare-data.ts';
import { proposeCommand } from './commands/propose.ts';
import { publishRevocationListCommand } from './commands/publish-revocation-list.ts';
import { publishTrainerCommand } from './commands/publish-trainer.ts';
import { reviewPlanCommand } from './commands/review-plan.ts';
import { rotateKeysCommand } from './commands/rotate-keys.ts';
import { runsCommand } from './commands/runs.ts';
import { sampleDataCommand } from './commands/sample-data.ts';
import { sweepCommand } from './commands/sweep.ts';
import { teardownCommand } from './commands/teardown.ts';
import { trainCommand } from './commands/train.ts';
import { tryCommand } from './commands/try.ts';
import { uploadCommand } from './commands/upload.ts';
import { verifyCommand } from './commands/verify.ts';
import { verifyEvidenceCommand } from './commands/verify-evidence.ts';
import { watchCommand } from './commands/watch.ts';
import { reportError } from './report-error.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('ctrain')
  .description('Train a model on data that nobody may read.')
  .version(version)
  .exitOverride()
  // Told below, as every other mistake is: in one line, or as JSON.
  .configureOutput({ outputError: () => undefined })
  .addHelpText(
    'after',
    `
Examples:
  $ ctrain init                          one key and a configuration in this folder
  $ ctrain train --data data.csv         prepare, seal, upload, agree, train, open the model
  $ ctrain verify models/RUN             what the receipt of a run proves

Without --deployment a command works on the emulator and says so in its first line.`,
  );

program.commandsGroup('Data scientist, model owner:');
for (const command of [
  initCommand(),
  tryCommand(),
  trainCommand(),
  sweepCommand(),
  runsCommand(),
  watchCommand(),
  diagnoseCommand(),
  openModelCommand(),
  predictCommand(),
  evaluateCommand(),
  sampleDataCommand(),
])
  program.addCommand(command);
program.commandsGroup('Data owner:');
for (const command of [
  prepareDataCommand(),
  encryptDataCommand(),
  adoptCommand(),
  uploadCommand(),
  inspectCommand(),
  downloadCommand(),
  lockKeyCommand(),
  proposeCommand(),
  approveCommand(),
  rotateKeysCommand(),
  errorsCommand(),
]) {
  program.addCommand(command);
}
program.commandsGroup('Platform team:');
for (const command of [
  publishTrainerCommand(),
  publishRevocationListCommand(),
  reviewPlanCommand(),
  alertsCommand(),
  doctorCommand(),
  teardownCommand(),
  emulatorCommand(),
])
  program.addCommand(command);
program.commandsGroup('Auditor:');
for (const command of [verifyCommand(), verifyEvidenceCommand(), explainPolicyCommand(), accessLogCommand()])
  program.addCommand(command);
program.commandsGroup('See it work:');
program.addCommand(demoCommand());

for (const command of program.commands) command.copyInheritedSettings(program);
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = endOf(error);
}

function endOf(error: unknown): number {
  const json = process.argv.includes('--json');
  if (!(error instanceof CommanderError)) return reportError(error, { json });
  if (error.exitCode === 0) return 0;
  // No command at all: commander has printed the help.
  if (error.code === 'commander.help') return 2;
  return reportError(new SecureTrainingError('CONFIG_INVALID', usageMessage(error.message)), { json });
}

/** Commander's message in our form: one line, the suggestion in it. */
function usageMessage(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.*)\?\)$/s, ', did you mean $1?')
    .replace(/\.$/, '');
}
