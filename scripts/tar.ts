/** A regular file of an archive. */
export interface TarEntry {
  /** At most 100 bytes of ASCII, no folder. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

const BLOCK = 512;

/** Offsets and widths of a ustar header: POSIX.1-2024, pax "ustar Interchange Format". */
const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeflag: [156, 1],
  magic: [257, 6],
  version: [263, 2],
} as const;

/** A ustar archive whose bytes are a function of names and contents: mode 0444, no owner, the epoch as time. */
export function writeTar(entries: readonly TarEntry[]): Uint8Array {
  const blocks = entries.map(({ bytes }) => BLOCK * (1 + Math.ceil(bytes.length / BLOCK)));
  const tar = new Uint8Array(blocks.reduce((sum, size) => sum + size, 2 * BLOCK));
  let offset = 0;
  for (const [i, { name, bytes }] of entries.entries()) {
    tar.set(header(name, bytes.length), offset);
    tar.set(bytes, offset + BLOCK);
    offset += blocks[i] ?? 0;
  }
  return tar;
}

function header(name: string, size: number): Uint8Array {
  if (!/^[\w.-]{1,100}$/.test(name)) throw new RangeError(`${name}: wanted a file name of at most 100 characters`);
  const block = new Uint8Array(BLOCK);
  const put = (field: keyof typeof FIELDS, text: string) => {
    const [offset, width] = FIELDS[field];
    if (text.length > width) throw new RangeError(`${name}: ${field} does not fit ${width} bytes`);
    block.set(new TextEncoder().encode(text), offset);
  };
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  put('name', name);
  put('mode', octal(0o444, 8));
  put('uid', octal(0, 8));
  put('gid', octal(0, 8));
  put('size', octal(size, 12));
  put('mtime', octal(0, 12));
  put('typeflag', '0');
  put('magic', 'ustar\0');
  put('version', '00');
  // The sum is taken with its own field full of spaces, then written as six digits, NUL, space.
  put('checksum', ' '.repeat(8));
  const sum = block.reduce((total, byte) => total + byte, 0);
  put('checksum', `${octal(sum, 7)} `);
  return block;
}
