import { expect, test } from 'vitest';
import {
  defineDataset,
  defineModel,
  isDefinition,
  type ModelDefinition,
} from '../../../runtime/training/model-definition.ts';

const build = () => {
  throw new Error('not called');
};
const good = { build, loss: build };

test('a definition stays what it is, and is known again', () => {
  const model = defineModel(good);
  expect({ ...model }).toMatchObject(good);
  expect([isDefinition(model, 'model'), isDefinition(model, 'dataset'), isDefinition(good, 'model')]).toEqual([
    true,
    false,
    false,
  ]);
  expect(isDefinition(defineDataset({ open: build }), 'dataset')).toBe(true);
});

test.each([
  [null, 'defineModel: wanted an object'],
  [{}, 'defineModel: wanted functions build and loss'],
  [
    { ...good, loss: 'mse' },
    'defineModel: wanted functions loss; a loss may be one of softmaxCrossEntropy, sigmoidCrossEntropy, meanSquaredError',
  ],
  [{ ...good, optimiser: 'adam' }, 'defineModel: optimiser is no member of it'],
  [
    { ...good, metrics: { 'a b': build } },
    "defineModel: metric a b: wanted letters, digits and _, first a letter, and not 'loss'",
  ],
  [{ ...good, metrics: { loss: build } }, "and not 'loss'"],
  [{ ...good, metrics: { m: 1 } }, 'defineModel: metric m is not a function'],
])('refuses %j', (definition, message) => {
  expect(() => defineModel(definition as unknown as ModelDefinition)).toThrow(message);
});

test('a dataset opens', () => {
  expect(() => defineDataset({} as never)).toThrow('defineDataset: wanted functions open');
  expect(() => defineDataset({ open: build, toBatch: 1 } as never)).toThrow('defineDataset: toBatch is not a function');
  expect(() => defineDataset({ open: build, close: build } as never)).toThrow(
    'defineDataset: close is no member of it',
  );
});
