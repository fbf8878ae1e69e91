import { concat, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';

/**
 * safetensors (huggingface/safetensors README, "Format"): `u64le header length | JSON header | data`, header padded with
 * spaces so that the data begins at a multiple of 8. Offsets are ascending and leave no holes, so that one state has one encoding.
 */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

export interface SafeTensors {
  readonly tensors: readonly NamedTensor[];
  /** The format allows text only. */
  readonly metadata: Readonly<Record<string, string>>;
}

const LENGTH_BYTES = 8;
/** The reference implementation's limit. */
const MAX_HEADER_BYTES = 100_000_000;

export function encodeSafeTensors({ tensors, metadata }: SafeTensors): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const { name, shape, values } of tensors) {
    if (values.length !== sizeOf(shape)) throw new RangeError(`${name}: ${values.length} values for shape [${shape}]`);
    if (name in header) throw new RangeError(`${name} appears twice`);
    const begin = end;
    end += values.byteLength;
    header[name] = { dtype: values instanceof Float32Array ? 'F32' : 'I32', shape, data_offsets: [begin, end] };
  }
  const json = JSON.stringify(header);
  const text = utf8(json);
  const padding = (8 - (text.length % 8)) % 8;
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length + padding), true);
  return concat(
    length,
    text,
    new Uint8Array(padding).fill(0x20),
    ...tensors.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  );
}

/**
 * Reads what {@link encodeSafeTensors} writes; other valid files may use types or an order that is refused here.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function decodeSafeTensors(bytes: Uint8Array): SafeTensors {
  if (bytes.length < LENGTH_BYTES) throw malformed(`${bytes.length} bytes, wanted at least ${LENGTH_BYTES}`);
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const dataStart = LENGTH_BYTES + headerLength;
  if (headerLength > MAX_HEADER_BYTES || dataStart > bytes.length) {
    throw malformed(`header of ${headerLength} bytes in a file of ${bytes.length}`);
  }
  const { __metadata__: metadata = {}, ...entries } = parseHeader(bytes.subarray(LENGTH_BYTES, dataStart));
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw malformed('__metadata__ is not a map of text');
  }
  const data = bytes.subarray(dataStart);
  let expected = 0;
  const tensors = Object.entries(entries).map(([name, entry]) => {
    const { dtype, shape, begin, end } = parseEntry(name, entry);
    if (begin !== expected || end > data.length)
      throw malformed(`${name} lies at ${begin} to ${end}, wanted ${expected}`);
    expected = end;
    // Copied: a view would need an alignment that the caller's bytes need not have.
    const buffer = data.slice(begin, end).buffer;
    return { name, shape, values: dtype === 'F32' ? new Float32Array(buffer) : new Int32Array(buffer) };
  });
  if (expected !== data.length) throw malformed(`${data.length - expected} bytes after the last tensor`);
  return { tensors, metadata: metadata as Record<string, string> };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (isRecord(header)) return header;
  } catch (cause) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'safetensors: header is not JSON', { cause });
  }
  throw malformed('header is not an object');
}

function parseEntry(name: string, entry: unknown) {
  if (!isRecord(entry)) throw malformed(`${name} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (dtype !== 'F32' && dtype !== 'I32')
    throw malformed(`${name} has dtype ${JSON.stringify(dtype)}, wanted F32 or I32`);
  if (!isCounts(shape) || !isCounts(offsets)) throw malformed(`${name} has no valid shape and data_offsets`);
  const [begin = -1, end = -1] = offsets;
  if (end - begin !== 4 * sizeOf(shape)) throw malformed(`${name} has ${end - begin} bytes for shape [${shape}]`);
  return { dtype, shape, begin, end };
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `safetensors: ${message}`);
}
