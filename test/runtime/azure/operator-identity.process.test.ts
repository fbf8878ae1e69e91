import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const NODE = fileURLToPath(new URL('../../../node_modules/.bin/node', import.meta.url));
const MODULE = new URL('../../../runtime/azure/operator-identity.ts', import.meta.url).href;
const SCRIPT = `import { operatorCredential } from '${MODULE}';
await operatorCredential().getToken('https://management.azure.com/.default').catch((e) => console.log(e.code, e.message));`;

// A process of its own, because the SDK reads its environment: nothing there, and no az on the path.
test('a machine without any identity is told to sign in', async () => {
  const out = await new Promise<string>((done, fail) => {
    execFile(NODE, ['--input-type=module', '--eval', SCRIPT], { env: { PATH: '/nowhere' } }, (error, stdout) =>
      error === null ? done(stdout) : fail(error),
    );
  });
  expect(out).toBe('CONFIG_INVALID no Azure identity: sign in with az login\n');
});
