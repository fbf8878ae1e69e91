import { toHex } from '../crypto/bytes.ts';

// Structures of the UEFI Specification 2.10 and of TCG PC Client Platform Firmware Profile 1.06 section 10 that stand in
// events. They come from whoever wrote the log: what cannot be read is `undefined`, and nothing here throws.

/** UEFI_VARIABLE_DATA: what is measured of a variable. */
export interface UefiVariable {
  /** Hex, as stored. */
  readonly guid: string;
  readonly name: string;
  readonly value: Uint8Array;
}

/** EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE_GUID as stored: whose SecureBoot, PK and KEK, and whose db and dbx. */
export const GLOBAL_VARIABLE = '61dfe48bca93d211aa0d00e098032b8c';
export const SECURITY_DATABASE = 'cbb219d73a3d9645a3bcdad00e67656f';

const GUID_LENGTH = 16;
const VARIABLE_HEADER = GUID_LENGTH + 8 + 8;

export function readVariable(data: Uint8Array): UefiVariable | undefined {
  if (data.length < VARIABLE_HEADER) return undefined;
  const view = viewOf(data);
  const nameEnd = VARIABLE_HEADER + 2 * Number(view.getBigUint64(GUID_LENGTH, true));
  // The two lengths account for every byte, or it is not what was measured as a variable.
  if (nameEnd + Number(view.getBigUint64(GUID_LENGTH + 8, true)) !== data.length) return undefined;
  return {
    guid: toHex(data.subarray(0, GUID_LENGTH)),
    name: utf16(data.subarray(VARIABLE_HEADER, nameEnd)),
    value: data.subarray(nameEnd),
  };
}

/** Entries of a signature database, by what they admit or forbid. */
export interface SignatureCount {
  readonly certificates: number;
  readonly hashes: number;
}

/** EFI_CERT_X509_GUID as stored; lists of every other type hold hashes. */
const X509_LIST = 'a159c0a5e494a74a87b5ab155c2bf072';
/** EFI_SIGNATURE_LIST (UEFI 32.4.1): type, size of the list, of its header and of each entry. */
const LIST_HEADER = GUID_LENGTH + 12;

export function countSignatures(value: Uint8Array): SignatureCount | undefined {
  const count = { certificates: 0, hashes: 0 };
  for (let at = 0; at < value.length; ) {
    if (value.length - at < LIST_HEADER) return undefined;
    const view = viewOf(value.subarray(at));
    const [size, header, entry] = [16, 20, 24].map((offset) => view.getUint32(offset, true)) as [
      number,
      number,
      number,
    ];
    const entries = (size - LIST_HEADER - header) / entry;
    if (size > value.length - at || !Number.isInteger(entries) || entries < 0) return undefined;
    count[toHex(value.subarray(at, at + GUID_LENGTH)) === X509_LIST ? 'certificates' : 'hashes'] += entries;
    at += size;
  }
  return count;
}

/** UEFI_IMAGE_LOAD_EVENT: address, size and link time of the image, then how long its device path is. */
const IMAGE_LOAD_HEADER = 8 + 8 + 8 + 8;
/** Media device path, file path (UEFI 10.3.5.4). */
const FILE_PATH_NODE = [4, 4] as const;
const NODE_HEADER = 4;

/** Text of the file path nodes in an image's device path; `undefined` without one. */
export function imageFilePath(data: Uint8Array): string | undefined {
  const path = data.subarray(IMAGE_LOAD_HEADER);
  const names: string[] = [];
  for (let at = 0; at + NODE_HEADER <= path.length; ) {
    const [type, subtype, low = 0, high = 0] = path.subarray(at);
    const length = low + 256 * high;
    if (length < NODE_HEADER || length > path.length - at) break;
    if (type === FILE_PATH_NODE[0] && subtype === FILE_PATH_NODE[1])
      names.push(utf16(path.subarray(at + NODE_HEADER, at + length)));
    at += length;
  }
  return names.length === 0 ? undefined : names.join('');
}

/** UTF-16LE, up to the zero that ends it if there is one. */
export function utf16(bytes: Uint8Array): string {
  const text = new TextDecoder('utf-16le').decode(bytes);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
