import { malformed, unsupported } from './malformed.ts';

// The crypto-agile event log of TCG PC Client Platform Firmware Profile 1.06, section 10; every integer is little endian.

/** Event types that something here depends on (section 10.4.1, table 27). */
export const EVENT = {
  noAction: 0x3,
  separator: 0x4,
  eventTag: 0x6,
  crtmVersion: 0x8,
  ipl: 0xd,
  variableDriverConfig: 0x80000001,
  bootServicesApplication: 0x80000003,
  efiAction: 0x80000007,
} as const;

/** First field of the first event: what follows is a TCG_EfiSpecIDEvent (section 10.4.5.1). */
export const SPEC_ID = 'Spec ID Event03';
/** First field of the event that says from which locality the TPM was started (section 10.4.5.3). */
const STARTUP_LOCALITY = 'StartupLocality';
/** The two names above are sixteen bytes with the zero that ends them. */
export const NAME_LENGTH = 16;
/** TCG_PCClientPCREvent, which only the first event is, has the digest of a SHA-1 log. */
export const FIRST_DIGEST_LENGTH = 20;

const SHA256 = 0x0b;
/** TPM_ALG_ID to bytes (TCG Algorithm Registry); a bank of another kind is as long as the log says. */
const DIGEST_LENGTHS: ReadonlyMap<number, number> = new Map([
  [0x04, 20],
  [SHA256, 32],
  [0x0c, 48],
  [0x0d, 64],
  [0x12, 32],
]);
/** Hashing starts from localities 0 and 3, or from 4 when hardware measured before the first instruction. */
const LOCALITIES: readonly number[] = [0, 3, 4];
const PCR_COUNT = 24;

/** A measurement as the log tells it. Only `pcr` and `digest` are borne out by a PCR value; `type` and `data` are a story. */
export interface LoggedEvent {
  readonly pcr: number;
  readonly type: number;
  /** SHA-256 bank. */
  readonly digest: Uint8Array;
  readonly data: Uint8Array;
}

export interface EventLog {
  /** Value of the last byte of PCR 0 before its first event. */
  readonly startupLocality: number;
  /** All but the first, in order. */
  readonly events: readonly LoggedEvent[];
}

/**
 * Reads a log as Linux gives it (`binary_bios_measurements`). Nothing may follow the last event: Linux leaves out the
 * zeros that firmware has after it.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, as unsupported for a log without a SHA-256 bank
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  const cursor = new Cursor(bytes);
  const lengths = readSpecId(cursor);
  const events: LoggedEvent[] = [];
  let startupLocality: number | undefined;
  while (cursor.remaining > 0) {
    const event = readEvent(cursor, lengths);
    const locality = localityOf(event);
    if (locality !== undefined) {
      if (startupLocality !== undefined) throw malformed('event log states the startup locality twice');
      if (events.some(({ pcr, type }) => pcr === 0 && type !== EVENT.noAction))
        throw malformed('event log states the startup locality after an event of pcr 0');
      startupLocality = locality;
    }
    events.push(event);
  }
  return { startupLocality: startupLocality ?? 0, events };
}

/** @returns length of a digest by algorithm, in the order of the log */
function readSpecId(cursor: Cursor): ReadonlyMap<number, number> {
  const [pcr, type] = [cursor.u32(), cursor.u32()];
  const digest = cursor.bytes(FIRST_DIGEST_LENGTH);
  if (pcr !== 0 || type !== EVENT.noAction || digest.some((byte) => byte !== 0))
    throw malformed('event log does not start with an event that measures nothing');
  const spec = new Cursor(cursor.bytes(cursor.u32()));
  const name = nameOf(spec.bytes(NAME_LENGTH));
  if (name !== SPEC_ID) {
    if (name?.startsWith('Spec ID Event') === true)
      throw unsupported(`event log is of kind ${name}, wanted ${SPEC_ID}`);
    throw malformed(`event log does not start with ${SPEC_ID}`);
  }
  // Platform class, version, errata and the width of UINTN: nothing below depends on them.
  spec.bytes(8);
  const lengths = new Map<number, number>();
  const count = spec.u32();
  for (let i = 0; i < count; i++) {
    const [algorithm, length] = [spec.u16(), spec.u16()];
    if (lengths.has(algorithm)) throw malformed(`event log names algorithm ${algorithm} twice`);
    if (length === 0 || length !== (DIGEST_LENGTHS.get(algorithm) ?? length))
      throw malformed(`event log has digests of ${length} bytes for algorithm ${algorithm}`);
    lengths.set(algorithm, length);
  }
  spec.bytes(spec.u8());
  if (spec.remaining > 0) throw malformed(`event log: its first event has ${spec.remaining} bytes too many`);
  if (!lengths.has(SHA256)) throw unsupported('event log has no sha-256 bank');
  return lengths;
}

/** TCG_PCR_EVENT2. */
function readEvent(cursor: Cursor, lengths: ReadonlyMap<number, number>): LoggedEvent {
  const [pcr, type, count] = [cursor.u32(), cursor.u32(), cursor.u32()];
  if (pcr >= PCR_COUNT && type !== EVENT.noAction) throw malformed(`event log has an event of pcr ${pcr}`);
  if (count !== lengths.size) throw malformed(`event log has an event with ${count} digests, wanted ${lengths.size}`);
  const digests = new Map<number, Uint8Array>();
  for (let i = 0; i < count; i++) {
    const algorithm = cursor.u16();
    const length = lengths.get(algorithm);
    if (length === undefined || digests.has(algorithm))
      throw malformed(`event log has an event with a digest of algorithm ${algorithm} too many`);
    digests.set(algorithm, cursor.bytes(length));
  }
  const data = cursor.bytes(cursor.u32());
  // One of each, so this one too.
  const digest = digests.get(SHA256);
  if (digest === undefined) throw malformed('event log has an event without a sha-256 digest');
  return { pcr, type, digest, data };
}

function localityOf({ pcr, type, data }: LoggedEvent): number | undefined {
  if (pcr !== 0 || type !== EVENT.noAction || nameOf(data.subarray(0, NAME_LENGTH)) !== STARTUP_LOCALITY)
    return undefined;
  const locality = data[NAME_LENGTH];
  if (data.length !== NAME_LENGTH + 1 || locality === undefined || !LOCALITIES.includes(locality))
    throw malformed('event log states no startup locality that there is');
  return locality;
}

/** Text with the zero that ends it; `undefined` without one. */
function nameOf(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes);
  return text.length === NAME_LENGTH && text.endsWith('\0') ? text.slice(0, -1) : undefined;
}

/** Little-endian fields, never beyond the end. What it gives is a view of the log, not a copy. */
class Cursor {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#uint(1);
  }

  u16(): number {
    return this.#uint(2);
  }

  u32(): number {
    return this.#uint(4);
  }

  bytes(length: number): Uint8Array {
    if (length > this.remaining) {
      throw malformed(`event log is truncated: ${length} bytes wanted at ${this.#offset}, ${this.remaining} left`);
    }
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  #uint(width: number): number {
    return this.bytes(width).reduceRight((value, byte) => value * 256 + byte, 0);
  }
}
