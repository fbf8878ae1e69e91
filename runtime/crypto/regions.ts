import { SecureTrainingError } from '../errors.ts';

/**
 * Cuts a stream into pieces of `length` bytes, the last one shorter. A piece is only valid until the next is asked for:
 * the memory is used again, and zeroed at the end because it may have held plaintext.
 */
export async function* inRegions(source: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let held: Uint8Array | undefined;
  let filled = 0;
  try {
    for await (const chunk of source) {
      let rest = chunk;
      while (rest.length > 0) {
        if (filled === 0 && rest.length >= length) {
          yield rest.subarray(0, length);
          rest = rest.subarray(length);
          continue;
        }
        held ??= new Uint8Array(length);
        const taken = rest.subarray(0, length - filled);
        held.set(taken, filled);
        filled += taken.length;
        rest = rest.subarray(taken.length);
        if (filled === length) {
          filled = 0;
          yield held;
        }
      }
    }
    if (held !== undefined && filled > 0) yield held.subarray(0, filled);
  } finally {
    held?.fill(0);
  }
}

/**
 * {@link inRegions} over a stream that must be `total` bytes long: stops at the first byte too many.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object
 */
export async function* exactly(
  source: AsyncIterable<Uint8Array>,
  length: number,
  total: number,
  name: string,
): AsyncGenerator<Uint8Array> {
  let taken = 0;
  for await (const region of inRegions(source, length)) {
    taken += region.length;
    if (taken > total) break;
    if (region.length < length && taken < total) break;
    yield region;
  }
  if (taken !== total) {
    throw new SecureTrainingError(
      'CIPHERTEXT_REJECTED',
      `${name}: found ${taken > total ? 'more than ' : ''}${Math.min(taken, total)} sealed bytes, wanted ${total}`,
    );
  }
}
