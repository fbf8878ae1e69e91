import { concat, utf8 } from '../../runtime/crypto/bytes.ts';
import type { NamedTensor } from '../../runtime/training/safetensors.ts';

/**
 * Writes an HDF5 file of groups and whole tensors, which is all that a Keras model's weights are: superblock 0, object headers 1,
 * links in their group's header, contiguous data (HDF5 File Format Specification 3.0: II.A, IV.A.1.a, IV.A.2). That is the part of
 * the format that every reader since HDF5 1.8 knows, and it has neither checksums nor times: equal tensors are equal bytes.
 */
interface Group {
  readonly children: Map<string, Group | NamedTensor>;
}

const SIGNATURE = Uint8Array.of(0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a);
const SUPERBLOCK_BYTES = 96;
/** Address of what is not there. */
const UNDEFINED = 2n ** 64n - 1n;
const MESSAGE = {
  dataspace: 0x01,
  linkInfo: 0x02,
  datatype: 0x03,
  fillValue: 0x05,
  link: 0x06,
  layout: 0x08,
  groupInfo: 0x0a,
};
const CONTIGUOUS = 1;
/** Class and version, then bit fields, size and the layout of the bits (IV.A.2.d): IEEE 754 binary32 and two's complement, both little endian. */
const FLOAT32 = concat(
  Uint8Array.of(0x11, 0x20, 31, 0),
  u32(4),
  u16(0),
  u16(32),
  Uint8Array.of(23, 8, 0, 23),
  u32(127),
);
const INT32 = concat(Uint8Array.of(0x10, 0x08, 0, 0), u32(4), u16(0), u16(32));

/** @param tensors by path, with a slash between two groups; `groups` are there even if nothing is in them */
export function encodeHdf5(tensors: readonly NamedTensor[], groups: readonly string[] = []): Uint8Array {
  const root: Group = { children: new Map() };
  for (const path of groups) groupAt(root, path.split('/'));
  for (const tensor of tensors) {
    const path = tensor.name.split('/');
    const name = path.pop() ?? '';
    groupAt(root, path).children.set(name, tensor);
  }
  const parts: Uint8Array[] = [];
  let end = SUPERBLOCK_BYTES;
  const append = (bytes: Uint8Array): number => {
    const at = end;
    const padding = new Uint8Array((8 - (bytes.length % 8)) % 8);
    parts.push(bytes, padding);
    end += bytes.length + padding.length;
    return at;
  };
  const write = (node: Group | NamedTensor): number => {
    if ('values' in node) {
      const { buffer, byteOffset, byteLength } = node.values;
      return append(datasetHeader(node, append(new Uint8Array(buffer, byteOffset, byteLength))));
    }
    // Children first: a group's header holds their addresses.
    const links = [...node.children]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, child]) => link(name, write(child)));
    return append(groupHeader(links));
  };
  const rootHeader = write(root);
  return concat(superblock(rootHeader, end), ...parts);
}

function groupAt(root: Group, path: readonly string[]): Group {
  let group = root;
  for (const name of path) {
    const next = group.children.get(name) ?? { children: new Map() };
    if ('values' in next) throw new RangeError(`${path.join('/')}: ${name} is a tensor, wanted a group`);
    group.children.set(name, next);
    group = next;
  }
  return group;
}

function superblock(rootHeader: number, end: number): Uint8Array {
  const versionsAndSizes = Uint8Array.of(0, 0, 0, 0, 0, 8, 8, 0);
  const treeFanOut = concat(u16(4), u16(16), u32(0));
  const rootEntry = concat(u64(0), u64(rootHeader), new Uint8Array(24));
  return concat(SIGNATURE, versionsAndSizes, treeFanOut, u64(0), u64(UNDEFINED), u64(end), u64(UNDEFINED), rootEntry);
}

function groupHeader(links: readonly Uint8Array[]): Uint8Array {
  return objectHeader([
    message(MESSAGE.linkInfo, concat(Uint8Array.of(0, 0), u64(UNDEFINED), u64(UNDEFINED))),
    message(MESSAGE.groupInfo, Uint8Array.of(0, 0)),
    ...links,
  ]);
}

function datasetHeader({ shape, values }: NamedTensor, dataAt: number): Uint8Array {
  const dataspace = concat(Uint8Array.of(1, shape.length, 0, 0, 0, 0, 0, 0), ...shape.map((length) => u64(length)));
  const allocatedLate = Uint8Array.of(2, 2, 0, 0);
  return objectHeader([
    message(MESSAGE.dataspace, dataspace),
    message(MESSAGE.datatype, values instanceof Float32Array ? FLOAT32 : INT32),
    message(MESSAGE.fillValue, allocatedLate),
    message(MESSAGE.layout, concat(Uint8Array.of(3, CONTIGUOUS), u64(dataAt), u64(values.byteLength))),
  ]);
}

function objectHeader(messages: readonly Uint8Array[]): Uint8Array {
  const body = concat(...messages);
  return concat(Uint8Array.of(1, 0), u16(messages.length), u32(1), u32(body.length), u32(0), body);
}

/** A hard link; its name's length takes two bytes. */
function link(name: string, address: number): Uint8Array {
  const text = utf8(name);
  return message(MESSAGE.link, concat(Uint8Array.of(1, 0x01), u16(text.length), text, u64(address)));
}

function message(type: number, data: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(data.length / 8) * 8);
  padded.set(data);
  return concat(u16(type), u16(padded.length), new Uint8Array(4), padded);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >>> 8);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function u64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}
