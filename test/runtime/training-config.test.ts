import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseOverride, parseTrainingConfig, trainingSchema } from '../../runtime/training-config.ts';

const good = { input_size: 784, hidden_size: 512, output_size: 10 };

test('three numbers are a complete configuration', () => {
  expect(parseTrainingConfig({ training: good })).toEqual({
    training: {
      ...good,
      epochs: 5,
      batch_size: 128,
      optimizer: 'adam',
      learning_rate: 0.002,
      seed: 42,
      checkpoint_steps: 0,
      shuffle_rows: 32768,
      schedule: 'cosine',
    },
  });
});

test('initial weights are named by digest, and by nothing where there are none', () => {
  const initial_weights = 'ab'.repeat(32);
  expect(parseTrainingConfig({ training: { ...good, initial_weights } }).training).toMatchObject({ initial_weights });
  expect(parseTrainingConfig({ training: good }).training).not.toHaveProperty('initial_weights');
});

test('a module is named below the folder of the configuration, or not at all', () => {
  const { training } = parseTrainingConfig({ training: { ...good, model: './lib/my-model.ts' } });
  expect(training.model).toBe('./lib/my-model.ts');
  expect('dataset' in training).toBe(false);
  expect(parseTrainingConfig({ training: { ...good, dataset: 'rows.mjs' } }).training.dataset).toBe('rows.mjs');
});

test.each([
  [
    { model: '/home/me/model.ts' },
    `training.model: found "/home/me/model.ts", wanted a file such as ./model.ts in the configuration's folder`,
  ],
  [
    { model: '../model.ts' },
    `training.model: found "../model.ts", wanted a file such as ./model.ts in the configuration's folder`,
  ],
  [
    { model: './a/../../model.ts' },
    `training.model: found "./a/../../model.ts", wanted a file such as ./model.ts in the configuration's folder`,
  ],
  [
    { model: './model.py' },
    `training.model: found "./model.py", wanted a file such as ./model.ts in the configuration's folder`,
  ],
  [{ dataset: 5 }, `training.dataset: found 5, wanted a file such as ./dataset.ts in the configuration's folder`],
  [{ input_size: 0 }, 'training.input_size: found 0, wanted a whole number from 1 to 1000000'],
  [{ hidden_size: -3 }, 'training.hidden_size: found -3, wanted a whole number from 1 to 65536'],
  [{ output_size: 2.5 }, 'training.output_size: found 2.5, wanted a whole number from 1 to 65536'],
  [{ input_size: undefined }, 'training.input_size: found nothing, wanted a whole number from 1 to 1000000'],
  [{ epochs: '3' }, 'training.epochs: found "3", wanted a whole number from 0 to 100000'],
  [{ batch_size: 0 }, 'training.batch_size: found 0, wanted a whole number from 1 to 65536'],
  [{ optimizer: 'adamw' }, 'training.optimizer: found "adamw", wanted adam or sgd'],
  [{ learning_rate: 0 }, 'training.learning_rate: found 0, wanted a number above 0, at most 10'],
  [{ privacy_budget: 1 }, 'training.privacy_budget: found 1 without noise, wanted privacy_noise above 0'],
  [
    { privacy_noise: 1, dataset: './rows.ts' },
    'training.dataset: with privacy_noise a module could make one row of many, wanted it left out',
  ],
  [
    { privacy_noise: 1, dataset_weights: { a: 1 } },
    'training.dataset_weights: with privacy_noise every row is drawn alike, wanted it left out',
  ],
  [{ seed: -1 }, 'training.seed: found -1, wanted a whole number from 0 to 2147483647'],
  [{ checkpoint_steps: -1 }, 'training.checkpoint_steps: found -1, wanted a whole number from 0 to 1000000000'],
  [{ checkpoints_kept: 0 }, 'training.checkpoints_kept: found 0, wanted a whole number from 1 to 1000'],
  [{ shuffle_rows: 0 }, 'training.shuffle_rows: found 0, wanted a whole number from 1 to 10000000'],
  [{ initial_weights: 'AB' }, 'training.initial_weights: found "AB", wanted 64 lower-case hex digits'],
  [
    { initial_weights: ['ab'.repeat(32)] },
    `training.initial_weights: found ["${'ab'.repeat(24)}${'ab'.repeat(5)}, wanted 64 lower-case hex digits`,
  ],
  [{ optimizer: 'sgd', momentum: 1 }, 'training.momentum: found 1, wanted a number from 0 to 0.9999'],
  [{ momentum: 0.9 }, 'training.momentum: found 0.9 with optimizer adam, wanted optimizer sgd'],
  [{ backend: 'gpu' }, 'training.backend: found "gpu", wanted auto, native, wasm or cpu'],
  [{ schedule: 'linear' }, 'training.schedule: found "linear", wanted constant, cosine or step'],
  [{ warmup_steps: -1 }, 'training.warmup_steps: found -1, wanted a whole number from 0 to 1000000000'],
  [{ decay_steps: 0 }, 'training.decay_steps: found 0, wanted a whole number from 1 to 1000000000'],
  [{ decay_factor: 2 }, 'training.decay_factor: found 2, wanted a number above 0, at most 1'],
  [{ early_stopping_epochs: 0.5 }, 'training.early_stopping_epochs: found 0.5, wanted a whole number from 0 to 100000'],
  [
    { dataset_weights: {} },
    'training.dataset_weights: found {}, wanted a number above 0, at most 1000000, for each dataset by name',
  ],
  [
    { dataset_weights: { a: 0 } },
    'training.dataset_weights: found {"a":0}, wanted a number above 0, at most 1000000, for each dataset by name',
  ],
  [
    { dataset_weights: [1] },
    'training.dataset_weights: found [1], wanted a number above 0, at most 1000000, for each dataset by name',
  ],
  [
    { class_weights: { a: -1 } },
    'training.class_weights: found {"a":-1}, wanted a number above 0, at most 1000000, for each class by name',
  ],
  [
    { class_weights: { a: 1 }, model: './model.ts' },
    "training.class_weights: found with training.model, whose loss is the module's own",
  ],
  [{ weight_decay: 2 }, 'training.weight_decay: found 2, wanted a number from 0 to 1'],
  [{ epoch: 3 }, 'training.epoch: unknown key, did you mean training.epochs?'],
])('refuses %j', (change, failure) => {
  expect(() => parseTrainingConfig({ training: { ...good, ...change } }, 'training.json')).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: `training.json: ${failure}`, failures: [failure] }),
  );
});

test.each([
  [[], 'configuration: it is not an object'],
  [{}, 'configuration: training: wanted an object with input_size, hidden_size and output_size'],
  [
    { trainin: good },
    'configuration: trainin: unknown key, did you mean training?; training: wanted an object with input_size, hidden_size and output_size',
  ],
])('refuses %j as a whole', (value, message) => {
  expect(() => parseTrainingConfig(value)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});

test('no epochs only with weights to measure', () => {
  const initial_weights = 'a'.repeat(64);
  expect(parseTrainingConfig({ training: { ...good, epochs: 0, initial_weights } }).training).toMatchObject({
    epochs: 0,
  });
  expect(() => parseTrainingConfig({ training: { ...good, epochs: 0 } })).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message:
        'configuration: training.epochs: found 0 without initial_weights, wanted a whole number from 1, or weights to measure',
    }),
  );
});

test('names every wrong field at once', () => {
  expect(() => parseTrainingConfig({ training: { ...good, epochs: -1, seed: -1 } })).toThrow(
    expect.objectContaining({ failures: [expect.stringContaining('epochs'), expect.stringContaining('seed')] }),
  );
});

test('whatever it is given, it parses or says CONFIG_INVALID', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        parseTrainingConfig({ training: value });
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      }
    }),
  );
});

test('a younger field is canonical by its absence: what was digested before it came has the same bytes still', () => {
  const before = parseTrainingConfig({ training: good });
  const spelled = { momentum: 0, warmup_steps: 0, early_stopping_epochs: 0, checkpoints_kept: 3, weight_decay: 0 };
  const after = parseTrainingConfig({ $schema: './training.schema.json', training: { ...spelled, ...good } });
  expect(JSON.stringify(after)).toBe(JSON.stringify(before));
  expect(parseTrainingConfig({ training: { ...good, warmup_steps: 9 } }).training.warmup_steps).toBe(9);
});

test('the committed JSON Schema is the definition (vitest -u writes it)', async () => {
  const text = `${JSON.stringify(trainingSchema(), undefined, 2)}\n`;
  await expect(text).toMatchFileSnapshot('../../docs/training.schema.json');
});

test('an override has its field’s type', () => {
  expect(parseOverride('training.epochs=3')).toEqual({ epochs: 3 });
  expect(parseOverride('training.learning_rate=1e-2')).toEqual({ learning_rate: 0.01 });
  expect(parseOverride('training.schedule=cosine')).toEqual({ schedule: 'cosine' });
});

test.each([
  ['training.epochs', '--set: found "training.epochs", wanted training.<field>=<value>'],
  ['training.epoch=3', '--set: training.epoch: unknown key, did you mean training.epochs?'],
  ['epochs=3', '--set: epochs: unknown key, did you mean training.epochs?'],
  ['training.constructor=3', '--set: training.constructor: unknown key, did you mean training.'],
  ['training.epochs=', '--set: training.epochs: found "", wanted a whole number from 0 to 100000'],
  ['training.epochs=0x10', '--set: training.epochs: found "0x10", wanted a whole number'],
  ['training.optimizer=adamw', '--set: training.optimizer: found "adamw", wanted adam or sgd'],
])('refuses --set %s', (text, message) => {
  expect(() => parseOverride(text)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(message) }),
  );
});
