import { SPLITS, type Split } from '../../statements/manifest.ts';

/** Different rows that are remembered; of more, one in two, in four, … is. 17 bytes a place, at most half of the places taken. */
const MOST_ROWS = 1_048_576;
const FIRST_PLACES = 4096;
const BITS: Readonly<Record<Split, number>> = { train: 1, validation: 2, test: 4 };

export interface Duplicates {
  /** Rows whose features another row before them has. */
  readonly repeated: number;
  /** Rows of validation and test whose features a row of train has: what is measured on them flatters the model. */
  readonly leaked: number;
  /** 1: all rows were compared; else one in so many, and the counts are estimates. */
  readonly oneIn: number;
}

/**
 * Finds rows that appear more than once, in memory that does not grow with the file: of more different rows than it holds it
 * watches those whose digest ends in zeros (distinct sampling), which is the same choice in every order of the file.
 */
export class DuplicateFinder {
  readonly #most: number;
  #oneIn = 1;
  #held = 0;
  /** Digests plus 1; 0 is a free place. */
  #digests = new Float64Array(FIRST_PLACES);
  #rows = new Uint32Array(FIRST_PLACES);
  #evaluated = new Uint32Array(FIRST_PLACES);
  #splits = new Uint8Array(FIRST_PLACES);

  constructor(mostRows: number = MOST_ROWS) {
    this.#most = mostRows;
  }

  /** @param digest 48 bits of a digest of the row's features */
  add(digest: number, split: Split): void {
    if (digest % this.#oneIn !== 0) return;
    this.#put(digest + 1, 1, Number(split !== SPLITS[0]), BITS[split]);
    if (this.#held > this.#most) {
      this.#oneIn *= 2;
      this.#rebuild(this.#digests.length);
    } else if (2 * this.#held > this.#digests.length) {
      this.#rebuild(2 * this.#digests.length);
    }
  }

  result(): Duplicates {
    let repeated = 0;
    let leaked = 0;
    this.#rows.forEach((rows, i) => {
      if (rows > 1) repeated += rows - 1;
      if (((this.#splits[i] ?? 0) & BITS.train) !== 0) leaked += this.#evaluated[i] ?? 0;
    });
    return { repeated: repeated * this.#oneIn, leaked: leaked * this.#oneIn, oneIn: this.#oneIn };
  }

  #put(key: number, rows: number, evaluated: number, splits: number): void {
    const places = this.#digests.length;
    // The low bits are the sample's: those of all that are held may be zero.
    let at = Math.floor((key - 1) / 2 ** 20) % places;
    while (this.#digests[at] !== 0 && this.#digests[at] !== key) at = (at + 1) % places;
    if (this.#digests[at] === 0) this.#held += 1;
    this.#digests[at] = key;
    this.#rows[at] = (this.#rows[at] ?? 0) + rows;
    this.#evaluated[at] = (this.#evaluated[at] ?? 0) + evaluated;
    this.#splits[at] = (this.#splits[at] ?? 0) | splits;
  }

  #rebuild(places: number): void {
    const [digests, rows, evaluated, splits] = [this.#digests, this.#rows, this.#evaluated, this.#splits];
    this.#digests = new Float64Array(places);
    this.#rows = new Uint32Array(places);
    this.#evaluated = new Uint32Array(places);
    this.#splits = new Uint8Array(places);
    this.#held = 0;
    digests.forEach((key, i) => {
      if (key !== 0 && (key - 1) % this.#oneIn === 0) this.#put(key, rows[i] ?? 0, evaluated[i] ?? 0, splits[i] ?? 0);
    });
  }
}
