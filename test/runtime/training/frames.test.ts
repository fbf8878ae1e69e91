import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat } from '../../../runtime/crypto/bytes.ts';
import { encodeFrame, type Frame, FrameReader } from '../../../runtime/training/frames.ts';

const malformed = (message: string) => expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message });

function readAll(chunks: Uint8Array[]): Frame[] {
  const reader = new FrameReader();
  const frames = chunks.flatMap((chunk) => reader.push(chunk));
  reader.end();
  return frames;
}

function raw(type: number, json: string, claimed: { rest?: number; header?: number } = {}): Uint8Array {
  const text = new TextEncoder().encode(json);
  const prefix = new Uint8Array(9);
  const view = new DataView(prefix.buffer);
  view.setUint32(0, claimed.rest ?? 5 + text.length, true);
  view.setUint8(4, type);
  view.setUint32(5, claimed.header ?? text.length, true);
  return concat(prefix, text);
}

test('known bytes: NEED of train/3', () => {
  const [head, body] = encodeFrame('NEED', { split: 'train', shard: 3 });
  const hex = Buffer.from(concat(head, body)).toString('hex');
  expect(hex).toBe(`2000000012${'1b000000'}${Buffer.from('{"split":"train","shard":3}').toString('hex')}`);
});

test('frames come back whole however the stream is cut', () => {
  const body = fc.uint8Array({ maxLength: 300 });
  const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.array(body, { maxLength: 5 }), cuts, (bodies, sizes) => {
      const bytes = concat(...bodies.flatMap((part, shard) => encodeFrame('BLOCK', { split: 'train', shard }, part)));
      const chunks: Uint8Array[] = [];
      for (let offset = 0, i = 0; offset < bytes.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        chunks.push(bytes.subarray(offset, offset + size));
        offset += size;
      }
      const expected = bodies.map((part, shard) => ({ type: 'BLOCK', header: { split: 'train', shard }, body: part }));
      expect(readAll(chunks)).toEqual(expected);
    }),
  );
});

test('frames come back whole when their bytes are written where they belong', () => {
  const body = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(
      fc.array(body, { maxLength: 5 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 50 })),
      (bodies, sizes) => {
        const bytes = concat(...bodies.flatMap((part, shard) => encodeFrame('BLOCK', { split: 'train', shard }, part)));
        const reader = new FrameReader();
        const frames: Frame[] = [];
        for (let offset = 0; offset < bytes.length; ) {
          const room = reader.room();
          const size = Math.min(sizes.next().value ?? 1, room.length, bytes.length - offset);
          room.set(bytes.subarray(offset, offset + size));
          frames.push(...reader.filled(size));
          offset += size;
        }
        reader.end();
        expect(frames.map((frame) => frame.body)).toEqual(bodies);
      },
    ),
  );
});

test('a body is memory of its own, aligned for Arrow', () => {
  const [head, body] = encodeFrame('BLOCK', { split: 'train', shard: 0 }, new Uint8Array(16));
  const [frame] = readAll([concat(head, body)]);
  expect(frame?.body.byteOffset).toBe(0);
});

test.each([
  ['unknown type', raw(99, '{}'), 'frame type 99 is not known'],
  ['too large', raw(4, '{}', { rest: 2 ** 32 - 1 }), 'STOP frame of 4294967295 bytes, wanted at most 536870912'],
  ['header longer than frame', raw(4, '{}', { header: 3 }), 'STOP frame of 7 bytes has a header of 3'],
  ['length below the prefix', raw(4, '', { rest: 0 }), 'STOP frame of 0 bytes has a header of 0'],
  ['no JSON', raw(18, '{'), 'header of NEED is not JSON'],
  ['no object', raw(18, '[1]'), 'header of NEED is not an object'],
  ['no shard', raw(18, '{"split":"train"}'), 'header of NEED: shard is not a count'],
  ['negative shard', raw(18, '{"split":"train","shard":-1}'), 'header of NEED: shard is not a count'],
  [
    'text as metric',
    raw(22, '{"modelBytes":1,"steps":1,"metrics":{"a":"row"}}'),
    'header of MODEL: metrics is not a metrics',
  ],
  [
    'a model without scores',
    raw(22, '{"modelBytes":0,"metrics":{},"steps":1}'),
    'header of MODEL: scores is not a scores',
  ],
  [
    'scores of a split that is none',
    raw(22, '{"modelBytes":0,"metrics":{},"steps":1,"scores":{"train":[[1]]}}'),
    'header of MODEL: scores is not a scores',
  ],
  [
    'scores that are no matrix of counts',
    raw(22, '{"modelBytes":0,"metrics":{},"steps":1,"scores":{"test":[[1,0.5],[0,1]]}}'),
    'header of MODEL: scores is not a scores',
  ],
  [
    'infinite loss',
    raw(21, '{"name":"loss","value":null,"step":1,"epoch":1}'),
    'header of METRIC: value is not a number',
  ],
])('refuses: %s', (_, bytes, message) => {
  expect(() => readAll([bytes])).toThrow(malformed(message));
});

test('every truncation is noticed', () => {
  const [head, body] = encodeFrame('BLOCK', { split: 'train', shard: 0 }, new Uint8Array(5));
  const bytes = concat(head, body);
  for (let length = 1; length < bytes.length; length++) {
    expect(() => readAll([bytes.subarray(0, length)])).toThrow(malformed('stream ends inside a frame'));
  }
});
