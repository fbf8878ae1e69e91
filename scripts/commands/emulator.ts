import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { buildTrainerBundle, NATIVE_DIR } from '../bundle.ts';
import { EMULATOR_STATE } from '../context.ts';
import { buildCustomTrainer, customOf } from '../custom/custom-trainer.ts';
import { spawnEmulator } from '../emulator-process.ts';

export function emulatorCommand(): Command {
  return new Command('emulator')
    .description('run Azure on this machine: vault, attestation, storage, metadata service, one confidential VM')
    .option('--state <folder>', 'where its keys, blobs and logs stay', EMULATOR_STATE)
    .option('-c, --config <file>', 'training configuration whose custom modules go into the trainer (default: none)')
    .option('--native', 'its machine computes with the native engine of npm run setup:native')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain emulator            (in a terminal of its own; Ctrl-C stops all of it)\n\nOther commands start it by themselves when it is not running.',
    )
    .action(async ({ state, config, native }: { state: string; config?: string; native?: boolean }) => {
      const named = await customOf(config);
      if (named !== undefined && native === true) {
        throw new SecureTrainingError(
          'CONFIG_INVALID',
          'found --native and --config with custom modules: wanted one of them',
        );
      }
      const trainer = named === undefined ? undefined : (await buildCustomTrainer(named.custom)).file;
      const child = spawnEmulator(resolve(state), native === true ? await nativeBundle(state) : trainer);
      child.stdout.pipe(process.stdout);
      child.stderr.pipe(process.stderr);
      // Ctrl-C may reach the child as well; the end of its input tells it once, also when this process is killed.
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.stdin.end());
      process.exitCode = await new Promise<number>((done) => child.once('close', (code) => done(code ?? 1)));
    });
}

async function nativeBundle(state: string): Promise<string> {
  const file = join(resolve(state), 'trainer-native.tar');
  await buildTrainerBundle(file, { nativeDir: NATIVE_DIR });
  return file;
}
