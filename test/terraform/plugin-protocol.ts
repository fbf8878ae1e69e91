/**
 * The little of three formats that a Terraform plugin speaks, so that no package is needed for one test: messages of
 * Protocol Buffers (https://protobuf.dev/programming-guides/encoding/), gRPC over HTTP/2 without streaming
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), and MessagePack (https://msgpack.org) as go-cty writes it.
 */
import { createServer, type Http2Server } from 'node:http2';
import { concat, uintBe, utf8 } from '../../runtime/crypto/bytes.ts';

type FieldValue = string | number | boolean | Uint8Array;

/** A message of fields by number; false, zero and undefined are what a field is by itself, and are left out. */
export function message(...fields: readonly (readonly [number: number, value: FieldValue | undefined])[]): Uint8Array {
  return concat(
    ...fields.flatMap(([number, value]) => {
      if (value === undefined || value === false || value === 0) return [];
      if (typeof value === 'boolean' || typeof value === 'number') return [varint(number << 3), varint(Number(value))];
      const bytes = typeof value === 'string' ? utf8(value) : value;
      return [varint((number << 3) | 2), varint(bytes.length), bytes];
    }),
  );
}

/** The last field of each number that has a length: strings, bytes and messages, which is all that requests have here. */
export function readMessage(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>();
  let at = 0;
  const readVarint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = readVarint();
    const value = readVarint();
    if ((tag & 7) !== 2) continue;
    fields.set(tag >> 3, bytes.subarray(at, at + value));
    at += value;
  }
  return fields;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return Uint8Array.from([...bytes, value]);
}

/** Answers gRPC calls by path on a unix socket; an answer of undefined says that there is no such method. */
export function serveCalls(
  socket: string,
  answer: (path: string, request: Uint8Array) => Uint8Array | undefined,
): Http2Server {
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on('data', (chunk: Uint8Array) => chunks.push(chunk));
    request.on('end', () => {
      const reply = answer(request.url, concat(...chunks).subarray(5));
      response.setHeader('content-type', 'application/grpc');
      response.addTrailers({ 'grpc-status': reply === undefined ? '12' : '0' });
      if (reply === undefined) return response.end();
      // Not compressed, and its length.
      return response.end(concat(Uint8Array.of(0), uintBe(reply.length, 4), reply));
    });
  });
  server.listen(socket);
  return server;
}

/** A value of MessagePack; of what is neither list nor map only the bytes matter here. */
export type Packed = Uint8Array | readonly Packed[] | ReadonlyMap<string, Packed>;

export const NULL = Uint8Array.of(0xc0);
/** How go-cty writes a value that only applying will tell: extension 0 (cty's docs/concepts.md has the idea, its msgpack package the code). */
export const UNKNOWN = Uint8Array.of(0xd4, 0, 0);

export function packText(text: string): Uint8Array {
  const bytes = utf8(text);
  return concat(Uint8Array.of(0xdb), uintBe(bytes.length, 4), bytes);
}

export function pack(value: Packed): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return concat(Uint8Array.of(0xdd), uintBe(value.length, 4), ...value.map(pack));
  const members = [...(value as ReadonlyMap<string, Packed>)];
  const flat = members.flatMap(([name, member]) => [packText(name), pack(member)]);
  return concat(Uint8Array.of(0xdf), uintBe(members.length, 4), ...flat);
}

export function unpack(bytes: Uint8Array): Packed {
  let at = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const uint = (width: number) => Number.parseInt(Buffer.from(take(width)).toString('hex'), 16);
  const text = () => {
    const head = uint(1);
    return Buffer.from(take(head < 0xc0 ? head & 0x1f : uint(2 ** (head - 0xd9)))).toString();
  };
  const read = (): Packed => {
    const start = at;
    const head = view.getUint8(at++);
    const isMap = (head & 0xf0) === 0x80 || head === 0xde || head === 0xdf;
    if (isMap || (head & 0xf0) === 0x90 || head === 0xdc || head === 0xdd) {
      const count = head < 0xa0 ? head & 0x0f : uint(head % 2 === 0 ? 2 : 4);
      if (isMap) return new Map(Array.from({ length: count }, () => [text(), read()] as const));
      return Array.from({ length: count }, read);
    }
    // Not in one step: the length may be read from what follows.
    const length = tail(head);
    at += length;
    return bytes.subarray(start, at);
  };
  /** Bytes after the first one of anything that contains nothing else. */
  const tail = (head: number): number => {
    if (head >= 0xa0 && head < 0xc0) return head & 0x1f;
    if (head >= 0xc4 && head <= 0xc6) return uint(2 ** (head - 0xc4));
    if (head >= 0xc7 && head <= 0xc9) return 1 + uint(2 ** (head - 0xc7));
    if (head >= 0xd4 && head <= 0xd8) return 1 + 2 ** (head - 0xd4);
    if (head >= 0xd9 && head <= 0xdb) return uint(2 ** (head - 0xd9));
    return FIXED[head] ?? 0;
  };
  return read();
}

const FIXED: Readonly<Record<number, number>> = {
  ...{ 202: 4, 203: 8, 204: 1, 205: 2, 206: 4, 207: 8 },
  ...{ 208: 1, 209: 2, 210: 4, 211: 8 },
};
