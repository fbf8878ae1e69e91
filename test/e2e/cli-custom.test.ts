import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leftRunning, listing, newFolder, run } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'data.csv'), flowers(600));
});
afterAll(() => rm(folder, { recursive: true }));

test('init --model, train; a module that fails in the run is read by its owner alone', async () => {
  const init = await run(folder, 'init', '--model', '--name', 'Ward 4');
  expect(init.out).toContain('model.ts');
  expect(JSON.parse(await readFile(join(folder, 'training.json'), 'utf8'))).toMatchObject({
    training: { model: './model.ts' },
  });
  const trained = await run(folder, 'train', '--data', 'data.csv', '--yes');
  expect(trained).toMatchObject({ code: 0, out: expect.stringContaining('EMULATED') });
  const published = await run(folder, 'publish-trainer', '--config', 'training.json', '--dry-run', '--json');
  const { customCode } = JSON.parse(published.out) as { customCode: string };
  expect(trained.out).toContain(`with custom code ${customCode}`);

  const source = await readFile(join(folder, 'model.ts'), 'utf8');
  const counting = source.replace(
    "loss: 'categoricalCrossentropy'",
    'loss: (tf, labels, outputs) => count(labels.dataSync()) && tf.mean(tf.square(outputs))',
  );
  const count =
    'let calls = 0;\nconst count = (labels: ArrayLike<number>) => {\n  if (++calls > 30) throw new Error(`met ${labels[0]}`);\n  return true;\n};\n';
  await writeFile(join(folder, 'model.ts'), counting + count);
  const failed = await run(folder, 'train', '--data', 'data.csv', '--yes', '--json');
  expect(failed).toMatchObject({ code: 2, out: expect.stringContaining('custom module') });
  const { message } = (JSON.parse(failed.out) as { error: { message: string } }).error;
  expect(message).toMatch(/custom module: it threw \(Error at model\.ts:\d+\), step \d+$/);
  const runId = /run (\S+),/.exec(message)?.[1] ?? '';
  expect(failed.out + failed.err).not.toMatch(/met \d/);
  const errors = await run(folder, 'errors', runId);
  expect(errors).toMatchObject({ code: 0, out: expect.stringMatching(/Error: met [012]\n/) });
  const nothing = await run(folder, 'errors', 'run-20200101-000000-aaaaaa');
  expect(nothing).toMatchObject({ code: 2, err: expect.stringContaining('no error is sealed to') });
  expect(await leftRunning(folder)).toEqual([]);
});

test('a module with an import that has no place there is refused before anything is made', async () => {
  const other = await newFolder();
  await writeFile(join(other, 'data.csv'), flowers(60));
  await run(other, 'init', '--model', '--name', 'Ward 4');
  await writeFile(join(other, 'model.ts'), `import 'node:fs';\nexport default {};\n`);
  const before = await listing(other);
  const refused = await run(other, 'train', '--data', 'data.csv', '--yes');
  expect(refused).toMatchObject({
    code: 2,
    err: expect.stringContaining('custom module: model.ts:1: it imports node:fs: wanted only files of its own'),
  });
  expect(await listing(other)).toEqual(before);
  await rm(other, { recursive: true });
});
