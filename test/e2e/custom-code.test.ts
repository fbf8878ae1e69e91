import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agreementStatement, verifyAgreement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement } from '../../runtime/statements/dsse.ts';
import { bundleCustom, type CustomBundle } from '../../scripts/custom/bundle-custom.ts';
import { approveAgreement, explainAgreement } from '../../scripts/run/approve.ts';
import { openErrors } from '../../scripts/run/open-errors.ts';
import { newKeys, opened, type Place, startPlace, train } from './place.ts';

/** Learns for 30 steps of the real run, longer than the try before it, then quotes a row. */
const MODEL = `import { defineModel } from 'confidential-training/model';
let calls = 0;
export default defineModel({
  build: (tf, { input_size, output_size, seed }) => tf.sequential({ layers: [tf.layers.dense({ name: 'only',
    inputShape: [input_size], units: output_size, kernelInitializer: tf.initializers.glorotUniform({ seed }) })] }),
  loss(tf, labels, outputs) {
    if (FAILS && ++calls > 30) throw new Error('a row of class ' + labels.dataSync()[0] + ' was met');
    return tf.losses.softmaxCrossEntropy(tf.oneHot(labels, outputs.shape[1]), outputs);
  },
});
`;

let dir: string;
let good: Place;
let custom: CustomBundle;

async function moduleThat(fails: boolean): Promise<CustomBundle> {
  await writeFile(join(dir, 'model.ts'), MODEL.replace('FAILS', String(fails)));
  return bundleCustom({ folder: dir, model: './model.ts' });
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-model-'));
  custom = await moduleThat(false);
  good = await startPlace({ custom, training: { model: './model.ts', learning_rate: 0.02 } });
});
afterAll(async () => {
  await good?.stop();
  await rm(dir, { recursive: true });
});

test('a model of one’s own is trained, sealed and in the receipt', async () => {
  const { agreement } = verifyAgreement(good.agreement);
  expect(agreement.customCode).toEqual({ sha256: custom.sha256 });
  const content = await opened(good, await train(good));
  expect(content.configuration.training.model).toBe('./model.ts');
  expect(content.metrics.test_accuracy).toBeGreaterThan(0.9);
});

test('nobody signs custom code without saying which they have reviewed', async () => {
  const lines = explainAgreement(verifyAgreement(good.agreement).agreement).join('\n');
  expect(lines).toContain(`with custom code ${custom.sha256}`);
  expect(lines).toContain('can carry rows out in the weights');
  const approve = (reviewed?: string) =>
    approveAgreement(good.context, good.keys, good.agreement, reviewed === undefined ? {} : { reviewed });
  await expect(approve()).rejects.toMatchObject({
    code: 'CONSENT_MISSING',
    message: expect.stringContaining(`read it, then say --reviewed ${custom.sha256}`),
  });
  await expect(approve('ab'.repeat(32))).rejects.toMatchObject({ code: 'CONSENT_MISSING' });
  expect((await approve(custom.sha256)).signatures).toHaveLength(1);
});

test('a trainer with other custom code than agreed on, or with any where none was, refuses', async () => {
  const { agreement } = verifyAgreement(good.agreement);
  const { model, ...training } = agreement.configuration.training;
  for (const [change, wanted] of [
    [{ customCode: { sha256: 'ab'.repeat(32) } }, 'ab'.repeat(32)],
    [{ customCode: false, configuration: { training } }, 'none'],
  ] as const) {
    const changed = signStatement(agreementStatement({ ...agreement, ...change }), [good.keys.signing]);
    await expect(train(good, serialiseEnvelope(changed))).rejects.toMatchObject({
      code: 'CONSENT_MISSING',
      message: expect.stringContaining(`the trainer's custom code is ${custom.sha256}, agreed was ${wanted}`),
    });
  }
});

test('what a module says is for the owners: everybody else reads class, line and step', async () => {
  const failing = await startPlace({
    custom: await moduleThat(true),
    training: { model: './model.ts', checkpoint_steps: 10 },
  });
  try {
    const sentence = 'custom module: it threw (Error at model.ts:7), step 31';
    await expect(train(failing)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(sentence),
    });
    const names: string[] = [];
    const everything: string[] = [];
    for await (const { name } of failing.runs.list('')) {
      names.push(name.replace(/^[^/]*\//, ''));
      everything.push(new TextDecoder('latin1').decode((await failing.runs.get(name))?.bytes));
    }
    expect(everything.join('')).toContain(sentence);
    expect(everything.join('') + failing.serial.join('')).not.toContain('was met');
    const { ownerId } = failing.keys;
    expect(names).toEqual(
      expect.arrayContaining([`errors/${ownerId}.sealed`, `errors/${ownerId}.json`, 'checkpoints/00000030.json']),
    );
    const runId = failing.serial.find((line) => line.includes('state=refused'))?.match(/run=(\S+)/)?.[1] ?? '';
    expect(await openErrors(failing.runs, failing.keys, runId)).toMatch(
      /Error: a row of class [012] was met\n {4}at .*model\.ts:7/,
    );
    await expect(openErrors(failing.runs, newKeys('stranger'), runId)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    const thief = { ...newKeys('thief'), ownerId };
    await expect(openErrors(failing.runs, thief, runId)).rejects.toMatchObject({ code: 'CIPHERTEXT_REJECTED' });
  } finally {
    await failing.stop();
  }
});
