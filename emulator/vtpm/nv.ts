import { parameterRefusal, RC, Refusal } from './refusal.ts';

/** TPMA_NV: ownerRead, noDA, written, platformCreate; the guest reads them and cannot redefine them (Part 2 section 13.4). */
export const NV_ATTRIBUTES = 0x62020000;
/** Most bytes of one NV_Read (TPM2_PT_NV_BUFFER_MAX), as in swtpm. */
const MAX_READ = 1024;

/** Bytes of an index, or what makes them anew each time it is read at offset 0, as the paravisor does with the HCL report. */
export type NvContent = Uint8Array | (() => Uint8Array | Promise<Uint8Array>);

/** NV indexes that exist before the guest starts. */
export class NvStore {
  readonly #contents: ReadonlyMap<number, NvContent>;
  readonly #current = new Map<number, Uint8Array>();

  constructor(contents: ReadonlyMap<number, NvContent>) {
    this.#contents = contents;
  }

  has(index: number): boolean {
    return this.#contents.has(index);
  }

  async size(index: number): Promise<number> {
    return (this.#current.get(index) ?? (await this.#refresh(index))).length;
  }

  /** Only a read at offset 0 refreshes, so a report read in several chunks is of one piece. */
  async read(index: number, size: number, offset: number): Promise<Uint8Array> {
    if (size > MAX_READ) throw parameterRefusal(1, RC.value);
    const current = this.#current.get(index);
    const bytes = offset > 0 && current ? current : await this.#refresh(index);
    if (offset + size > bytes.length) throw new Refusal(RC.nvRange);
    return bytes.slice(offset, offset + size);
  }

  async #refresh(index: number): Promise<Uint8Array> {
    const content = this.#contents.get(index) ?? new Uint8Array();
    const bytes = typeof content === 'function' ? await content() : content;
    if (bytes.length > 0xffff)
      throw new RangeError(`NV index ${index.toString(16)} must fit 65535 bytes, got ${bytes.length}`);
    this.#current.set(index, bytes);
    return bytes;
  }
}
