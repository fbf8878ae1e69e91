/** One of the data commands as a process of its own, without the rest of the CLI: `node run-data-command.ts encrypt-data …`. */
import { Command } from 'commander';
import { encryptDataCommand } from '../../../scripts/commands/encrypt-data.ts';
import { prepareDataCommand } from '../../../scripts/commands/prepare-data.ts';
import { uploadCommand } from '../../../scripts/commands/upload.ts';
import { reportError } from '../../../scripts/report-error.ts';

const program = new Command('ctrain');
for (const command of [prepareDataCommand(), encryptDataCommand(), uploadCommand()]) program.addCommand(command);
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = reportError(error, { json: process.argv.includes('--json') });
}
