import '@tensorflow/tfjs-backend-cpu';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../../../runtime/training/backend.ts';

const wasm = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
beforeAll(() => startBackend({ wasmDir: dirname(fileURLToPath(wasm)) }));

/** The same computation on both backends; values come from a seed, so that nothing has to be moved between them. */
async function onBoth(compute: () => tf.Tensor[]): Promise<[Float32Array[], Float32Array[]]> {
  const results: Float32Array[][] = [];
  for (const backend of ['cpu', 'wasm']) {
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    results.push(tf.tidy(() => compute().map((tensor) => tensor.dataSync() as Float32Array)));
    expect(tf.memory().numTensors).toBe(before);
  }
  return [results[0] ?? [], results[1] ?? []];
}

async function expectEqual(compute: () => tf.Tensor[]): Promise<void> {
  const [cpu, ours] = await onBoth(compute);
  expect(ours.map(({ length }) => length)).toEqual(cpu.map(({ length }) => length));
  cpu.forEach((values, i) => {
    const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    const difference = values.reduce((most, value, at) => Math.max(most, Math.abs(value - (ours[i]?.[at] ?? NaN))), 0);
    expect(difference).toBeLessThan(1e-5 * scale);
  });
}

/** For a random dL/dy, not through a function of the result: stock wasm is wrong forward where strides exceed a filter, padded 'same'. */
const gradients = (f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]) =>
  tf.grads((...given) => f(...given))(inputs, values(f(...inputs).shape, 12));

const values = (shape: number[], seed: number) => tf.randomUniform(shape, -1, 1, 'float32', seed);

/** tfjs wants it where padding is a number, and only there. */
const rounding = (pad: number | string) => (typeof pad === 'number' ? 'floor' : undefined);

const side = fc.integer({ min: 1, max: 4 });
const stride = fc.integer({ min: 1, max: 3 });

/** Padding by a number only with square filters and strides: tfjs 4.22 takes the height for both (conv_util.ts, computeOutputShape2D). */
const window = fc.oneof(
  fc.record({ tall: side, wide: side, stride: fc.tuple(stride, stride), pad: fc.constantFrom('same', 'valid') }),
  fc
    .record({ size: side, step: stride, pad: fc.integer({ min: 0, max: 4 }) })
    .map(({ size, step, pad }) => ({ tall: size, wide: size, stride: [step, step] as [number, number], pad })),
) as fc.Arbitrary<{ tall: number; wide: number; stride: [number, number]; pad: 'same' | 'valid' | number }>;

const image = fc
  .record({
    batch: fc.integer({ min: 1, max: 3 }),
    height: fc.integer({ min: 5, max: 9 }),
    width: fc.integer({ min: 5, max: 9 }),
    channels: fc.integer({ min: 1, max: 3 }),
    filters: fc.integer({ min: 1, max: 3 }),
    window,
  })
  .map(({ window: seen, ...rest }) => ({ ...rest, ...seen }));

test('gradients of a convolution are those of the cpu backend', async () => {
  await fc.assert(
    fc.asyncProperty(image, ({ batch, height, width, channels, filters, tall, wide, stride, pad }) =>
      expectEqual(() => {
        const x = values([batch, height, width, channels], 1) as tf.Tensor4D;
        const filter = values([tall, wide, channels, filters], 2) as tf.Tensor4D;
        const y = (a: tf.Tensor4D, b: tf.Tensor4D) => tf.conv2d(a, b, stride, pad, 'NHWC', 1, rounding(pad));
        return gradients((a, b) => y(a as tf.Tensor4D, b as tf.Tensor4D), [x, filter]);
      }),
    ),
    { numRuns: 60, seed: 7 },
  );
});

test('a batch whose columns do not fit at once gives the same sum', async () => {
  await expectEqual(() => {
    const x = values([5, 64, 64, 16], 3) as tf.Tensor4D;
    const filter = values([5, 5, 16, 2], 4) as tf.Tensor4D;
    return tf.grads((a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 'same'))([x, filter]);
  });
});

test('gradients of a depthwise convolution are those of the cpu backend', async () => {
  // tfjs takes one stride for both directions here.
  await fc.assert(
    fc.asyncProperty(image, ({ batch, height, width, channels, filters, tall, wide, stride: [stride], pad }) =>
      expectEqual(() => {
        const x = values([batch, height, width, channels], 5) as tf.Tensor4D;
        const filter = values([tall, wide, channels, filters], 6) as tf.Tensor4D;
        const y = (a: tf.Tensor, b: tf.Tensor) =>
          tf.depthwiseConv2d(a as tf.Tensor4D, b as tf.Tensor4D, stride, pad, 'NHWC', 1, rounding(pad));
        return gradients((a, b) => y(a as tf.Tensor, b as tf.Tensor), [x, filter]);
      }),
    ),
    { numRuns: 60, seed: 7 },
  );
});

test.each(['maxPool', 'avgPool'] as const)('gradients of %s are those of the cpu backend', async (pool) => {
  await fc.assert(
    fc.asyncProperty(image, ({ batch, height, width, channels, tall, wide, stride, pad }) =>
      expectEqual(() => {
        const x = values([batch, height, width, channels], 8) as tf.Tensor4D;
        const padding = typeof pad === 'number' ? Math.min(pad, tall - 1, wide - 1) : pad;
        const pooled = pool === 'maxPool' ? tf.maxPool : tf.avgPool;
        return gradients((a) => pooled(a as tf.Tensor4D, [tall, wide], stride, padding, rounding(pad)), [x]);
      }),
    ),
    { numRuns: 60, seed: 7 },
  );
});

test('of equal values in a window the first is the greatest', async () => {
  await expectEqual(() => [tf.grad((x) => tf.maxPool(x as tf.Tensor4D, 2, 2, 'valid'))(tf.ones([2, 6, 6, 3]))]);
});

test('gradients of a look-up add up over equal rows', async () => {
  const lookUp = fc.record({
    rows: fc.integer({ min: 1, max: 6 }),
    width: fc.integer({ min: 1, max: 5 }),
    indices: fc.array(fc.nat(), { minLength: 1, maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(lookUp, ({ rows, width, indices }) =>
      expectEqual(() => {
        const table = values([rows, width], 9);
        const wanted = tf.tensor1d(
          indices.map((index) => index % rows),
          'int32',
        );
        return [tf.grad((a) => tf.square(tf.gather(a, wanted)))(table)];
      }),
    ),
    { numRuns: 60, seed: 7 },
  );
});

test('a segment outside the range is left out', async () => {
  const sum = () => tf.unsortedSegmentSum(tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor1d([1, 5], 'int32'), 3);
  const [cpu, ours] = await onBoth(() => [sum()]);
  expect(ours).toEqual(cpu);
  expect(ours[0]).toEqual(new Float32Array([0, 0, 1, 2, 0, 0]));
});

test('the same bits on every run', async () => {
  const once = () => {
    const x = values([4, 12, 12, 3], 10) as tf.Tensor4D;
    const filter = values([3, 3, 3, 8], 11) as tf.Tensor4D;
    return tf.grads((a, b) => tf.square(tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 'same')))([x, filter]);
  };
  const [, first] = await onBoth(once);
  const [, second] = await onBoth(once);
  expect(second).toEqual(first);
});
