import type { Reader } from '../../runtime/tpm/wire.ts';
import type { KeyStore, TpmKey } from './keys.ts';
import type { NvStore } from './nv.ts';
import type { PcrBank } from './pcrs.ts';
import type { Space } from './space.ts';

/** The TPM as its commands see it. */
export interface TpmState {
  readonly keys: KeyStore;
  readonly nv: NvStore;
  pcrs: PcrBank;
  /** Boots so far. */
  resetCount: number;
  /** Milliseconds the TPM has been on. */
  readonly clock: () => bigint;
}

/** One command, its handles resolved and its authorisations checked. */
export interface Call {
  readonly tpm: TpmState;
  readonly space: Space;
  readonly handles: readonly number[];
  /** The keys behind those handles that are keys, by the handle's position. */
  readonly keys: readonly (TpmKey | undefined)[];
  readonly parameters: Reader;
}

export interface Outcome {
  /** @default - the response carries no handle */
  readonly handle?: number;
  /** @default - no parameters */
  readonly parameters?: Uint8Array;
}
