import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Offsets of the fields that matter here (POSIX.1-2017, pax, "ustar Interchange Format"). */
const NAME = [0, 100] as const;
const SIZE = [124, 136] as const;
const TYPE = 156;
const MAGIC = [257, 262] as const;
const PREFIX = [345, 500] as const;
const BLOCK = 512;

/**
 * Unpacks plain files of a ustar archive into an empty folder. A trainer bundle has nothing else: links, devices and paths
 * that lead out of the folder are errors.
 */
export function unpackTar(archive: Uint8Array, directory: string): readonly string[] {
  const names: string[] = [];
  for (let offset = 0; offset + BLOCK <= archive.length; ) {
    const header = archive.subarray(offset, offset + BLOCK);
    if (header.every((byte) => byte === 0)) return names;
    const [prefix, name] = [text(header, PREFIX), text(header, NAME)];
    const path = prefix === '' ? name : `${prefix}/${name}`;
    const size = Number.parseInt(text(header, SIZE), 8);
    const content = archive.subarray(offset + BLOCK, offset + BLOCK + size);
    const type = String.fromCharCode(header[TYPE] ?? 0);
    if (text(header, MAGIC) !== 'ustar' || content.length !== size)
      throw new TypeError(`archive is damaged at byte ${offset}`);
    if (path.startsWith('/') || path.split('/').includes('..'))
      throw new TypeError(`archive leads out of its folder: ${path}`);
    if (type === '0' || type === '\0') {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), content, { flag: 'wx' });
      names.push(path);
    } else if (type !== '5') {
      throw new TypeError(`archive holds something other than files: ${path}`);
    }
    offset += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw new TypeError('archive has no end');
}

function text(header: Uint8Array, [start, end]: readonly [number, number]): string {
  const bytes = header.subarray(start, end);
  const length = bytes.indexOf(0);
  return new TextDecoder().decode(length === -1 ? bytes : bytes.subarray(0, length)).trim();
}
