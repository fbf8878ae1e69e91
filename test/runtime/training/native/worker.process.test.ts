import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runWorker } from '../../../../runtime/training/broker-side.ts';
import { confinedCommand } from '../../../../runtime/training/confinement.ts';
import { bundledWorker, testData } from '../worker-setup.ts';
import { hasNative, NATIVE_DIR } from './setup.ts';

const hasNamespaces = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true']).status === 0;

describe.skipIf(!hasNative || !hasNamespaces)('a worker with the native engine', () => {
  let worker: Awaited<ReturnType<typeof bundledWorker>>;
  beforeAll(async () => {
    worker = await bundledWorker(NATIVE_DIR);
  });
  afterAll(() => worker?.remove());

  test('trains in a root of its own', async () => {
    const started = await worker.start();
    try {
      expect(started.engine).toMatchObject({ backend: 'native', versions: { tensorflow: expect.any(String) } });
      expect(started.confinement).toMatchObject({ ownRoot: true, readOnlyFiles: true, networkNamespace: true });
      const { metrics } = await runWorker(started, testData());
      expect(metrics.test_accuracy).toBeGreaterThan(0.9);
    } finally {
      await started.stop();
    }
  });

  test('is not taken for confined where only Node forbids: its addon is not held to that', async () => {
    const started = await worker.start(false);
    expect(started.confinement).toMatchObject({ ownRoot: false, readOnlyFiles: false });
    await started.stop();
  });

  test('its kernels find no file outside and write none', async () => {
    const script = join(worker.dir, 'probe.mjs');
    await writeFile(
      script,
      `import { createRequire } from 'node:module';
       const binding = createRequire(import.meta.url)(import.meta.dirname + '/tfjs_binding.node');
       const text = (value) => binding.createTensor([], binding.TF_STRING, [new TextEncoder().encode(value)]);
       const attempt = (op, inputs, outputs) => {
         try { binding.executeOp(op, [], inputs.map(text), outputs); return 'allowed'; } catch (error) { return 'refused'; }
       };
       console.log(JSON.stringify([
         attempt('ReadFile', ['/etc/hostname'], 1), attempt('ReadFile', ['/proc/self/environ'], 1),
         attempt('WriteFile', ['/tmp/x', ''], 0), attempt('WriteFile', [import.meta.dirname + '/x', ''], 0),
         attempt('ReadFile', [import.meta.filename], 1),
       ]));`,
    );
    const options = { node: process.execPath, script, bundleDir: worker.dir, confine: true };
    const [command = '', ...parameters] = confinedCommand(options);
    const { stdout } = spawnSync(command, parameters, { cwd: worker.dir, env: {}, encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual(['refused', 'refused', 'refused', 'refused', 'allowed']);
  });
});
