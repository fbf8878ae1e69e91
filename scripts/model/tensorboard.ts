import { concat, utf8 } from '../../runtime/crypto/bytes.ts';
import type { MetricPoint } from '../../runtime/metric-history.ts';

/** Castagnoli's polynomial, reversed (RFC 3720, appendix B.4). */
const CRC32C_POLYNOMIAL = 0x82f63b78;
const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CRC32C_POLYNOMIAL : value >>> 1;
  return value;
});
/** TensorFlow masks checksums, so that data holding its own checksum gets another one (tsl/lib/hash/crc32c.h). */
const MASK_DELTA = 0xa282ead8;
/** Without it a reader takes the file for one of another age (tensorflow/core/util/events_writer.h). */
const FILE_VERSION = 'brain.Event:2';

/** Fields of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 } as const;
const SUMMARY_VALUE = 1;
const VALUE = { tag: 1, simpleValue: 2 } as const;
const WIRE = { varint: 0, double: 1, bytes: 2, float: 5 } as const;

/** Name as TensorBoard looks for: `events.out.tfevents.SECONDS.HOST`. */
export function eventFileName(startedOn: Date): string {
  return `events.out.tfevents.${Math.floor(startedOn.getTime() / 1000)}.ctrain`;
}

/** A TensorBoard event file of scalars: records of one Event message each. The same points make the same bytes. */
export function encodeEventFile(points: readonly MetricPoint[], startedOn: Date): Uint8Array {
  const version = concat(
    double(EVENT.wallTime, startedOn.getTime() / 1000),
    bytesField(EVENT.fileVersion, utf8(FILE_VERSION)),
  );
  return concat(record(version), ...points.map((point) => record(scalarEvent(point))));
}

/** CRC-32C of RFC 3720, unmasked. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC32C_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

function scalarEvent({ name, step, value, at }: MetricPoint): Uint8Array {
  const summaryValue = concat(bytesField(VALUE.tag, utf8(name)), float(VALUE.simpleValue, value));
  return concat(
    double(EVENT.wallTime, Date.parse(at) / 1000),
    tag(EVENT.step, WIRE.varint),
    varint(step),
    bytesField(EVENT.summary, bytesField(SUMMARY_VALUE, summaryValue)),
  );
}

/** TFRecord: `u64le length | masked crc of it | data | masked crc of it` (tensorflow.org/tutorials/load_data/tfrecord). */
function record(data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(data.length), true);
  return concat(length, maskedCrc(length), data, maskedCrc(data));
}

function maskedCrc(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  const masked = new Uint8Array(4);
  new DataView(masked.buffer).setUint32(0, (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0, true);
  return masked;
}

function double(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return concat(tag(field, WIRE.double), bytes);
}

function float(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return concat(tag(field, WIRE.float), bytes);
}

function bytesField(field: number, value: Uint8Array): Uint8Array {
  return concat(tag(field, WIRE.bytes), varint(value.length), value);
}

function tag(field: number, wire: number): Uint8Array {
  return varint((field << 3) | wire);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}
