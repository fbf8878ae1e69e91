import { expect, test } from 'vitest';
import { decodeCheckpoint, encodeCheckpoint, runFingerprint } from '../../../runtime/training/checkpoint-state.ts';
import { decodeSafeTensors, encodeSafeTensors } from '../../../runtime/training/safetensors.ts';
import { testData } from './worker-setup.ts';

const { config, schema, shards } = testData();
const fingerprint = runFingerprint({ config, schema, shards });
const state = {
  step: 7,
  position: { epoch: 1, row: 32 },
  history: [{ name: 'loss', value: 0.1 + 0.2, step: 6, epoch: 1 }],
  tensors: [{ name: 'w', shape: [2], values: Float32Array.of(0.1, -0) }],
};
const good = encodeCheckpoint(state, fingerprint);

test('comes back whole', () => {
  expect(decodeCheckpoint(good, fingerprint)).toEqual(state);
  expect(encodeCheckpoint(decodeCheckpoint(good, fingerprint), fingerprint)).toEqual(good);
});

function changed(metadata: Record<string, string>): Uint8Array {
  const decoded = decodeSafeTensors(good);
  return encodeSafeTensors({ ...decoded, metadata: { ...decoded.metadata, ...metadata } });
}

test.each([
  ['format', changed({ format: 'pt' }), 'EVIDENCE_MALFORMED', 'checkpoint: format is not ctrain/checkpoint/v1'],
  [
    'other run',
    changed({ fingerprint: '00' }),
    'CONFIG_INVALID',
    'checkpoint belongs to another configuration or other data',
  ],
  ['no JSON', changed({ state: '{' }), 'EVIDENCE_MALFORMED', 'checkpoint: state is not JSON'],
  ['no step', changed({ state: '{}' }), 'EVIDENCE_MALFORMED', 'checkpoint: state lacks step, position or history'],
])('refuses: %s', (_, bytes, code, message) => {
  expect(() => decodeCheckpoint(bytes, fingerprint)).toThrow(expect.objectContaining({ code, message }));
});

test.each([
  ['seed', { config: testData({ seed: 43 }).config }],
  ['batch size', { config: testData({ batch_size: 31 }).config }],
  ['normalisation', { schema: { ...schema, normalisation: { kind: 'none' as const } } }],
  ['a shard', { shards: { ...shards, train: [37, 50, 1, 23, 61] } }],
])('the fingerprint tells runs apart by %s', (_, change) => {
  expect(runFingerprint({ config, schema, shards, ...change })).not.toBe(fingerprint);
});

test('the fingerprint does not depend on the order in which members were written', () => {
  const { train = [], ...rest } = shards;
  expect(runFingerprint({ config, schema, shards: { ...rest, train } })).toBe(fingerprint);
});
