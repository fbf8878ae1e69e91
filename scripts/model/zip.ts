import { crc32 } from 'node:zlib';
import { concat, utf8 } from '../../runtime/crypto/bytes.ts';

const LOCAL_FILE = 0x04034b50;
const CENTRAL_FILE = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
/** 1980-01-01, the earliest there is: the same files make the same bytes. */
const DATE = 0x0021;

/** A ZIP archive of files as they are, uncompressed, below 4 GiB (APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). */
export function encodeZip(files: readonly (readonly [name: string, content: Uint8Array])[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, content] of files) {
    const common = [
      u16(VERSION, 0, 0, 0, DATE),
      u32(crc32(content), content.length, content.length),
      u16(utf8(name).length, 0),
    ];
    const header = concat(u32(LOCAL_FILE), ...common, utf8(name));
    directory.push(u32(CENTRAL_FILE), u16(VERSION), ...common, u16(0, 0, 0), u32(0, at), utf8(name));
    parts.push(header, content);
    at += header.length + content.length;
  }
  const central = concat(...directory);
  const end = concat(u32(END), u16(0, 0, files.length, files.length), u32(central.length, at), u16(0));
  return concat(...parts, central, end);
}

function u16(...values: readonly number[]): Uint8Array {
  return new Uint8Array(values.flatMap((value) => [value & 0xff, (value >>> 8) & 0xff]));
}

function u32(...values: readonly number[]): Uint8Array {
  return u16(...values.flatMap((value) => [value & 0xffff, value >>> 16]));
}
