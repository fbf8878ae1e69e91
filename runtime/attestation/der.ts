import { malformed } from './malformed.ts';

/** Tags of the few ASN.1 types in certificates that this project looks into (X.690 section 8). */
export const DER_TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One DER element: its tag and the bytes of its value. */
export interface DerElement {
  readonly tag: number;
  readonly value: Uint8Array;
}

/**
 * Splits bytes into the DER elements they consist of.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when they do not end where the last element does
 */
export function derElements(bytes: Uint8Array, what: string): readonly DerElement[] {
  const elements: DerElement[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const tag = bytes[offset] ?? 0;
    const { length, start } = derLength(bytes, offset + 1, what);
    if (length > bytes.length - start) throw malformed(`${what} ends inside a DER element`);
    elements.push({ tag, value: bytes.subarray(start, start + length) });
    offset = start + length;
  }
  return elements;
}

/** The elements inside the only element of `bytes`, which must carry `tag`. */
export function derChildren(element: DerElement | undefined, tag: number, what: string): readonly DerElement[] {
  if (element?.tag !== tag) throw malformed(`${what} has DER tag ${element?.tag ?? 'none'}, wanted ${tag}`);
  return derElements(element.value, what);
}

/**
 * A small unsigned integer. One of 0x80 and more takes two bytes (`02 02 00 xx`), which parsers that take byte 2 get wrong.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless it is 0 to 255
 */
export function derByte(bytes: Uint8Array, what: string): number {
  const [element, ...rest] = derElements(bytes, what);
  if (element?.tag !== DER_TAG.integer || rest.length > 0) throw malformed(`${what} is not a DER integer`);
  const [first = 0, second = 0] = element.value;
  if (element.value.length === 1 && first < 0x80) return first;
  if (element.value.length === 2 && first === 0 && second >= 0x80) return second;
  throw malformed(`${what} is not an integer from 0 to 255`);
}

/** Lengths up to 65535, more than any certificate has, in the one spelling that DER allows (X.690 section 10.1). */
function derLength(bytes: Uint8Array, at: number, what: string): { length: number; start: number } {
  const [first, second = 0, third = 0] = bytes.subarray(at, at + 3);
  if (first === undefined) throw malformed(`${what} ends inside a DER length`);
  if (first < 0x80) return { length: first, start: at + 1 };
  if (first === 0x81 && second >= 0x80) return { length: second, start: at + 2 };
  if (first === 0x82 && second > 0) return { length: second * 256 + third, start: at + 3 };
  throw malformed(`${what} has a DER length that is indefinite, too large or longer than it need be`);
}
