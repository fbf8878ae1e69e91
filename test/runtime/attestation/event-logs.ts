import { concat, sha256, utf8 } from '../../../runtime/crypto/bytes.ts';

// Logs built apart from emulator and parser: little endian, one or several banks.

const u16 = (value: number) => Uint8Array.of(value & 255, (value >> 8) & 255);
export const u32 = (value: number) => concat(u16(value), u16(Math.floor(value / 65536)));

export interface SpecId {
  readonly name: string;
  /** Algorithm and digest length. */
  readonly banks: readonly (readonly [number, number])[];
  readonly tail: Uint8Array;
}

/** The first event of a log, right or wrong. */
export function firstEvent({
  name = 'Spec ID Event03\0',
  banks = [[11, 32]],
  tail = Uint8Array.of(0),
}: Partial<SpecId> = {}) {
  const data = concat(
    utf8(name),
    Uint8Array.of(0, 0, 0, 0, 0, 2, 0, 2),
    u32(banks.length),
    ...banks.map(([algorithm, length]) => concat(u16(algorithm), u16(length))),
    tail,
  );
  return concat(u32(0), u32(3), new Uint8Array(20), u32(data.length), data);
}

/** An event of the SHA-256 bank; its digest is that of its data unless given. */
export function logged(pcr: number, type: number, data: Uint8Array, digest = sha256(data)): Uint8Array {
  return concat(u32(pcr), u32(type), u32(1), u16(11), digest, u32(data.length), data);
}

export function locality(...value: readonly number[]): Uint8Array {
  return logged(0, 3, concat(utf8('StartupLocality\0'), Uint8Array.of(...value)), new Uint8Array(32));
}

export const utf16 = (text: string) => Uint8Array.from(Buffer.from(text, 'utf16le'));

const u64 = (value: number) => concat(u32(value), u32(0));

/** UEFI_VARIABLE_DATA of a global variable, or of the owner given. */
export function variable(name: string, value: Uint8Array, guid = '61dfe48bca93d211aa0d00e098032b8c'): Uint8Array {
  return concat(Uint8Array.from(Buffer.from(guid, 'hex')), u64(name.length), u64(value.length), utf16(name), value);
}
