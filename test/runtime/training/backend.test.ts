import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { startBackend } from '../../../runtime/training/backend.ts';

const rejected = (message: string) => expect.objectContaining({ code: 'CONFIG_INVALID', message });

test.each([
  ['a backend that nobody has', { backend: 'webgl' }, 'backend is webgl, wanted native, wasm, cpu'],
  ['native where it is not set up', { backend: 'native' }, 'tfjs backend native does not start'],
  ['native in a folder without it', { backend: 'native', nativeDir: '/' }, 'tfjs backend native does not start'],
])('%s is refused, and nothing else computes instead', async (_, options, message) => {
  await expect(startBackend({ wasmDir: '/', ...options })).rejects.toEqual(rejected(message));
});

test('the plain one computes where it is asked for', async () => {
  const info = await startBackend({ wasmDir: '/', backend: 'cpu' });
  expect(info).toMatchObject({ backend: 'cpu', simd: false, threads: 1, versions: { 'tfjs-core': tf.version_core } });
  expect(tf.getBackend()).toBe('cpu');
});
