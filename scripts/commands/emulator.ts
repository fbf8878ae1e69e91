import { resolve } from 'node:path';
import { Command } from 'commander';
import { EMULATOR_STATE } from '../context.ts';
import { buildCustomTrainer, customOf } from '../custom/custom-trainer.ts';
import { spawnEmulator } from '../emulator-process.ts';

export function emulatorCommand(): Command {
  return new Command('emulator')
    .description('run Azure on this machine: vault, attestation, storage, metadata service, one confidential VM')
    .option('--state <folder>', 'where its keys, blobs and logs stay', EMULATOR_STATE)
    .option('-c, --config <file>', 'training configuration whose custom modules go into the trainer (default: none)')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain emulator            (in a terminal of its own; Ctrl-C stops all of it)\n\nOther commands start it by themselves when it is not running.',
    )
    .action(async ({ state, config }: { state: string; config?: string }) => {
      const named = await customOf(config);
      const trainer = named === undefined ? undefined : await buildCustomTrainer(named.custom);
      const child = spawnEmulator(resolve(state), trainer?.file);
      child.stdout.pipe(process.stdout);
      child.stderr.pipe(process.stderr);
      // Ctrl-C may reach the child as well; the end of its input tells it once, also when this process is killed.
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.stdin.end());
      process.exitCode = await new Promise<number>((done) => child.once('close', (code) => done(code ?? 1)));
    });
}
