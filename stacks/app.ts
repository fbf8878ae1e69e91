/** What `cdktf` runs: the stacks of the environment that CTRAIN_ENVIRONMENT names (a file in environments/, default `example`). */
import { join } from 'node:path';
import { App } from 'cdktf';
import { addStacks } from './all-stacks.ts';
import { loadDeploymentConfig } from './deployment-config.ts';

const environment = process.env.CTRAIN_ENVIRONMENT ?? 'example';
try {
  const config = loadDeploymentConfig(join(import.meta.dirname, '..', 'environments', `${environment}.json`));
  // Traces name this machine's folders.
  const app = new App({ stackTraces: false });
  addStacks(app, config);
  app.synth();
} catch (error) {
  // A mistake in the configuration is one line; anything else is ours and shows where.
  if (!(error instanceof RangeError)) throw error;
  console.error(`ctrain: ${error.message}`);
  process.exitCode = 2;
}
