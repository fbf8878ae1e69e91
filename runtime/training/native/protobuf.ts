/** Writes what little of Protocol Buffers a TensorFlow graph needs (protobuf.dev/programming-guides/encoding). */

const WIRE_VARINT = 0;
const WIRE_LENGTH = 2;
const WIRE_32_BIT = 5;
/** Bits of a number that one byte of a varint holds, and the mark that another follows. */
const VARINT_BITS = 7n;
const VARINT_MORE = 0x80;

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A negative number takes ten bytes, as its 64-bit two's complement. */
export function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= VARINT_MORE; rest >>= VARINT_BITS) bytes.push(Number(rest & 0x7fn) | VARINT_MORE);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

export function integerField(field: number, value: number): Uint8Array {
  return join([varint((field << 3) | WIRE_VARINT), varint(value)]);
}

export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return join([varint((field << 3) | WIRE_32_BIT), bytes]);
}

/** A text, bytes, a packed list or a message within a message. */
export function bytesField(field: number, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
  return join([varint((field << 3) | WIRE_LENGTH), varint(bytes.length), bytes]);
}
