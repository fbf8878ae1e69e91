import { concat, sha256 } from '../../runtime/crypto/bytes.ts';
import { PCR_COUNT, type PcrSelection, parsePcrSelections, pcrDigest } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, type Reader, u8, u16, u32 } from '../../runtime/tpm/wire.ts';
import { emulatedEventLog, pcrsAfter } from '../event-log.ts';
import { parameterRefusal, RC, Refusal } from './refusal.ts';

const DIGEST_LENGTH = 32;
const SELECT_LENGTH = 3;
/** Banks a TPM of this kind knows but has not allocated: selecting one selects nothing. */
const OTHER_BANKS: readonly number[] = [ALGORITHM.sha1, ALGORITHM.sha384];
/** Debug and application PCRs, which leave the update counter alone (PC Client profile section 4.7). */
const UNCOUNTED: readonly number[] = [16, 21, 22, 23];

/** Values of PCRs after boot, by number; whatever is not named is zero, and 17 to 22 are ff. */
export type BootPcrs = ReadonlyMap<number, Uint8Array>;

/** What the log of an unchanged emulated boot replays to. */
export const EMULATED_BOOT_PCRS: BootPcrs = pcrsAfter(emulatedEventLog());

/** The SHA-256 bank of one boot. */
export class PcrBank {
  readonly #values: Uint8Array[];
  /** Moves with every counted extend: sessions and readers see by it that something changed. */
  updateCounter = 0;

  constructor(boot: BootPcrs) {
    this.#values = Array.from({ length: PCR_COUNT }, (_, pcr) => {
      const fill = pcr >= 17 && pcr <= 22 ? 0xff : 0;
      const value = boot.get(pcr) ?? new Uint8Array(DIGEST_LENGTH).fill(fill);
      if (value.length !== DIGEST_LENGTH) throw new RangeError(`pcr ${pcr} must have 32 bytes, got ${value.length}`);
      return value.slice();
    });
  }

  read(pcr: number): Uint8Array {
    return (this.#values[pcr] ?? new Uint8Array(DIGEST_LENGTH)).slice();
  }

  extend(pcr: number, digest: Uint8Array): void {
    // 17 to 22 belong to a dynamic launch, which runs at another locality than the guest's.
    if (pcr >= 17 && pcr <= 22) throw new Refusal(RC.locality);
    this.#values[pcr] = sha256(this.read(pcr), digest);
    if (!UNCOUNTED.includes(pcr)) this.updateCounter++;
  }

  /** Digest over the selected PCRs, as quotes and policies state it. */
  digest(selections: readonly PcrSelection[]): Uint8Array {
    return pcrDigest(new Map(selections.flatMap(({ pcrs }) => pcrs).map((pcr) => [pcr, this.read(pcr)])));
  }
}

/** A TPML_PCR_SELECTION parameter, reduced to what this TPM has: the SHA-256 bank. `parameter` is its number. */
export function readSelections(reader: Reader, parameter: number): PcrSelection[] {
  const selections = parsePcrSelections(reader);
  for (const { algorithm, pcrs } of selections) {
    if (algorithm !== ALGORITHM.sha256 && !OTHER_BANKS.includes(algorithm)) throw parameterRefusal(parameter, RC.hash);
    if (pcrs.some((pcr) => pcr >= PCR_COUNT)) throw parameterRefusal(parameter, RC.value);
  }
  return selections.map(({ algorithm, pcrs }) => ({ algorithm, pcrs: algorithm === ALGORITHM.sha256 ? pcrs : [] }));
}

/** TPML_PCR_SELECTION with every bank that was asked for. */
export function writeSelections(selections: readonly PcrSelection[]): Uint8Array {
  const banks = selections.map(({ algorithm, pcrs }) => {
    const bitmap = new Uint8Array(SELECT_LENGTH);
    for (const pcr of pcrs) bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7));
    return concat(u16(algorithm), u8(SELECT_LENGTH), bitmap);
  });
  return concat(u32(selections.length), ...banks);
}
