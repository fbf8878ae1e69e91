import { defineDataset, type ModelConfig, type OpenedRows } from 'confidential-training/model';

const MAGIC = 0x52454331;
const HEADER_BYTES = 8;
/** Readings are stored as thousandths. */
const SCALE = 1000;

/**
 * A recording as some instrument writes it: `u32 'REC1' | u16 readings a record | u16 records`, then for each record its readings as
 * i16 and its class as u8, all little-endian.
 */
class Recording {
  readonly #view: DataView;
  readonly readings: number;
  readonly records: number;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER_BYTES || this.#view.getUint32(0, true) !== MAGIC)
      throw new TypeError('this is no recording');
    this.readings = this.#view.getUint16(4, true);
    this.records = this.#view.getUint16(6, true);
    const wanted = HEADER_BYTES + this.records * this.#recordBytes;
    if (bytes.length !== wanted) throw new RangeError(`found ${bytes.length} bytes, wanted ${wanted}`);
  }

  get #recordBytes(): number {
    return this.readings * 2 + 1;
  }

  reading(record: number, index: number): number {
    return this.#view.getInt16(HEADER_BYTES + record * this.#recordBytes + index * 2, true) / SCALE;
  }

  label(record: number): number {
    return this.#view.getUint8(HEADER_BYTES + (record + 1) * this.#recordBytes - 1);
  }
}

/** Sealed objects that are recordings, instead of Arrow files. */
export default defineDataset({
  open(bytes: Uint8Array, _, { input_size }: ModelConfig): OpenedRows {
    const recording = new Recording(bytes);
    if (recording.readings !== input_size) {
      throw new RangeError(`found ${recording.readings} readings a record, wanted input_size ${input_size}`);
    }
    const { records } = recording;
    return {
      features: Float32Array.from({ length: records * input_size }, (_, i) =>
        recording.reading(Math.floor(i / input_size), i % input_size),
      ),
      labels: Int32Array.from({ length: records }, (_, i) => recording.label(i)),
    };
  },
});
