import { Command } from 'commander';
import { synthesize } from '../synthesize.ts';
import { teardownSteps, whatRemains } from '../teardown/remains.ts';

export function teardownCommand(): Command {
  return new Command('teardown')
    .description('say how an environment is taken down, what remains after, and until when; nothing is called')
    .argument('[environment]', 'file in environments/, without .json', 'example')
    .option('--json', 'machine-readable output')
    .addHelpText('after', '\nExample:\n  $ ctrain teardown example')
    .action(async (environment: string, { json }: { json?: boolean }) => {
      const stacks = await synthesize(environment);
      const steps = teardownSteps(environment, stacks);
      const remains = whatRemains(stacks);
      if (json === true) {
        console.log(JSON.stringify({ environment, steps, remains }));
        return;
      }
      console.log(`taking ${environment} down, in this order:`);
      for (const [i, { does, command }] of steps.entries()) {
        console.log(`  ${i + 1}. ${does}${command === undefined ? '' : `\n     ${command}`}`);
      }
      console.log('what remains:');
      for (const { stack, what, until, mind } of remains)
        console.log(`  ${stack}: ${what}, until ${until}\n    ${mind}`);
      console.log(
        'data that was sealed and taken elsewhere stays sealed; keys in the hands of owners open it as before',
      );
    });
}
