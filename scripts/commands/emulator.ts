import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { EMULATOR_STATE } from '../context.ts';

export function emulatorCommand(): Command {
  return new Command('emulator')
    .description('run Azure on this machine: vault, attestation, storage, metadata service, one confidential VM')
    .option('--state <folder>', 'where its keys, blobs and logs stay', EMULATOR_STATE)
    .addHelpText('after', '\nExample:\n  $ ctrain emulator            (in a terminal of its own; Ctrl-C stops all of it)\n\nOther commands start it by themselves when it is not running.')
    .action(async ({ state }: { state: string }) => {
      const main = fileURLToPath(new URL('../../emulator/main.ts', import.meta.url));
      const child = spawn(process.execPath, [main, '--state', resolve(state)], { stdio: 'inherit' });
      // Ctrl-C reaches the child by itself; this process only waits for it.
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
      process.exitCode = await new Promise<number>((done) => child.once('exit', (code) => done(code ?? 1)));
    });
}
