import { parameterRefusal, RC, Refusal } from './refusal.ts';

/** TPMA_NV, Part 2 section 13.4. */
export const NV_ATTRIBUTE = {
  ownerWrite: 0x2,
  ownerRead: 0x20000,
  written: 0x20000000,
  platformCreate: 0x40000000,
} as const;
/** ownerRead, noDA, written, platformCreate: what the paravisor defined, the guest reads and cannot redefine. */
const PROVISIONED = 0x62020000;
/** ownerWrite, ownerRead, noDA, written: the attestation key's certificate is the guest's to renew. */
const RENEWABLE = 0x22020002;
/** Most bytes of one NV_Read or NV_Write (TPM2_PT_NV_BUFFER_MAX), as in swtpm. */
export const MAX_NV_BUFFER = 1024;
/** Largest index a guest may define (TPM2_PT_NV_INDEX_MAX), as in swtpm. */
const MAX_NV_INDEX = 2048;

/** Bytes of an index, or what makes them anew each time it is read at offset 0, as the paravisor does with the HCL report. */
export type NvContent = Uint8Array | (() => Uint8Array | Promise<Uint8Array>);

interface NvIndex {
  attributes: number;
  readonly content: NvContent;
  /** What was read last at offset 0. */
  current?: Uint8Array;
}

/** NV indexes: those that exist before the guest starts, and those it defines. */
export class NvStore {
  readonly #indexes: Map<number, NvIndex>;

  /** @param renewable indexes that the guest may replace */
  constructor(contents: ReadonlyMap<number, NvContent>, renewable: readonly number[] = []) {
    const provisioned = (index: number) => (renewable.includes(index) ? RENEWABLE : PROVISIONED);
    this.#indexes = new Map(
      [...contents].map(([index, content]) => [
        index,
        { attributes: provisioned(index), content: typeof content === 'function' ? content : content.slice() },
      ]),
    );
  }

  has(index: number): boolean {
    return this.#indexes.has(index);
  }

  attributes(index: number): number {
    return this.#index(index).attributes;
  }

  async size(index: number): Promise<number> {
    const found = this.#index(index);
    return (found.current ?? (await refresh(index, found))).length;
  }

  /** Only a read at offset 0 refreshes, so a report read in several chunks is of one piece. */
  async read(index: number, size: number, offset: number): Promise<Uint8Array> {
    const found = this.#index(index);
    if ((found.attributes & NV_ATTRIBUTE.ownerRead) === 0) throw new Refusal(RC.nvAuthorisation);
    if ((found.attributes & NV_ATTRIBUTE.written) === 0) throw new Refusal(RC.nvUninitialised);
    if (size > MAX_NV_BUFFER) throw parameterRefusal(1, RC.value);
    const bytes = offset > 0 && found.current ? found.current : await refresh(index, found);
    if (offset + size > bytes.length) throw new Refusal(RC.nvRange);
    return bytes.slice(offset, offset + size);
  }

  define(index: number, attributes: number, size: number): void {
    if (this.has(index)) throw new Refusal(RC.nvDefined);
    if (size > MAX_NV_INDEX) throw parameterRefusal(2, RC.size);
    this.#indexes.set(index, { attributes, content: new Uint8Array(size).fill(0xff) });
  }

  write(index: number, bytes: Uint8Array, offset: number): void {
    const found = this.#index(index);
    const { attributes, content } = found;
    if ((attributes & NV_ATTRIBUTE.ownerWrite) === 0 || typeof content === 'function')
      throw new Refusal(RC.nvAuthorisation);
    if (offset + bytes.length > content.length) throw new Refusal(RC.nvRange);
    content.set(bytes, offset);
    found.attributes |= NV_ATTRIBUTE.written;
  }

  undefine(index: number): void {
    if ((this.#index(index).attributes & NV_ATTRIBUTE.platformCreate) !== 0) throw new Refusal(RC.nvAuthorisation);
    this.#indexes.delete(index);
  }

  #index(index: number): NvIndex {
    const found = this.#indexes.get(index);
    if (!found) throw new Refusal(RC.handle);
    return found;
  }
}

async function refresh(index: number, found: NvIndex): Promise<Uint8Array> {
  const bytes = typeof found.content === 'function' ? await found.content() : found.content;
  if (bytes.length > 0xffff)
    throw new RangeError(`NV index ${index.toString(16)} must fit 65535 bytes, got ${bytes.length}`);
  found.current = bytes;
  return bytes;
}
