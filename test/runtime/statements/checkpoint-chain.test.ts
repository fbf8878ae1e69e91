import { createSecretKey } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { generateCek, sealBytes } from '../../../runtime/crypto/sealed-object.ts';
import { slotOf } from '../../../runtime/keys/slots.ts';
import {
  CHAIN_START,
  type CheckpointRecord,
  chainKey,
  linkCheckpoint,
  parseCheckpoint,
  resumeTag,
  serialiseCheckpoint,
  verifyCheckpoint,
} from '../../../runtime/statements/checkpoint-chain.ts';
import { describeSealed } from '../../../runtime/statements/sealed-description.ts';
import { rejection } from '../rejection.ts';

const DIGEST = 'ab'.repeat(32);
const ceks = [1, 2].map((byte) => createSecretKey(new Uint8Array(32).fill(byte)));
const key = chainKey(ceks, DIGEST, 'run-1');
const slots = [slotOf('urn:example', new Uint8Array(256))];
let first: CheckpointRecord;
let second: CheckpointRecord;

beforeAll(async () => {
  const description = describeSealed('unused', await sealBytes(utf8('weights'), generateCek()));
  const object = { ...description, name: 'run-1/checkpoints/00000200-ab.sealed', sealedSha256: 'cd'.repeat(32) };
  first = linkCheckpoint({ runId: 'run-1', step: 200, object, slots, previousTag: CHAIN_START }, key);
  second = linkCheckpoint({ runId: 'run-1', step: 400, object, slots, previousTag: first.resumeTag }, key);
});

test('records come back and verify', () => {
  for (const record of [first, second]) {
    const read = parseCheckpoint(serialiseCheckpoint(record));
    expect(read).toEqual(record);
    verifyCheckpoint(read, key);
  }
});

// Computed by Python's hmac over the documented layouts.
test('known answers', () => {
  expect(toHex(key.export())).toBe('d772118474e7520ffb72cdd67e9ac15a52d450a3582108b88ee83e49c7fddf39');
  expect(resumeTag(key, 200, DIGEST, CHAIN_START)).toBe(
    '6aabb8524e258a7819b317cb7531389aa1a174c28ffeb80ba228f40dec8797f7',
  );
});

test('the key needs every content key, their order, the agreement and the run', () => {
  const others = [
    chainKey(ceks.slice(1), DIGEST, 'run-1'),
    chainKey(ceks.toReversed(), DIGEST, 'run-1'),
    chainKey(ceks, 'ac'.repeat(32), 'run-1'),
    chainKey(ceks, DIGEST, 'run-2'),
  ];
  for (const other of others) {
    expect(() => verifyCheckpoint(first, other)).toThrow(
      rejection('CIPHERTEXT_REJECTED', 'run-1/checkpoints/00000200-ab.sealed: it is no checkpoint of this run'),
    );
  }
  expect(() => chainKey([], DIGEST, 'run-1')).toThrow(TypeError);
});

test.each<[string, (record: CheckpointRecord) => CheckpointRecord]>([
  ['step', (record) => ({ ...record, step: 201 })],
  ['previous tag', (record) => ({ ...record, previousTag: 'ef'.repeat(32) })],
  ['tag', (record) => ({ ...record, resumeTag: 'ef'.repeat(32) })],
  ['name', (record) => ({ ...record, object: { ...record.object, name: 'b.sealed' } })],
  ['root', (record) => ({ ...record, object: { ...record.object, merkleRoot: 'ef'.repeat(32) } })],
  ['digest', (record) => ({ ...record, object: { ...record.object, sealedSha256: 'ef'.repeat(32) } })],
  ['size', (record) => ({ ...record, object: { ...record.object, plaintextSize: 1 } })],
])('another %s is no checkpoint of this run', (_, change) => {
  expect(() => verifyCheckpoint(change(first), key)).toThrow(
    rejection('CIPHERTEXT_REJECTED', 'it is no checkpoint of this run'),
  );
});

test('wrapping the key anew changes no checkpoint', () => {
  verifyCheckpoint({ ...first, slots: [slotOf('urn:other', new Uint8Array(512))] }, key);
});

test.each<[string, (record: CheckpointRecord) => object, string]>([
  ['a step before the first', (record) => ({ ...record, step: -1 }), 'step: found -1'],
  ['a path that climbs', (record) => ({ ...record, object: { ...record.object, name: 'a/../b' } }), 'object.name'],
  ['no slots', (record) => ({ ...record, slots: [] }), 'slots: found a list of 0'],
  [
    'sizes that do not fit',
    (record) => ({ ...record, object: { ...record.object, regionCount: 9 } }),
    'object: found 9 regions',
  ],
])('refuses %s', (_, change, message) => {
  const bytes = utf8(JSON.stringify(change(first)));
  expect(() => parseCheckpoint(bytes)).toThrow(rejection('EVIDENCE_MALFORMED', 'checkpoint: ', message));
});
