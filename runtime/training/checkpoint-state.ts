import { sha256, toHex, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import type { Metric, StartHeader } from './frames.ts';
import type { Position } from './order.ts';
import { decodeSafeTensors, encodeSafeTensors, type NamedTensor } from './safetensors.ts';

/**
 * All that decides how a run goes on: weights, optimizer state, place in the data, metrics so far. The order of rows is a
 * function of seed and position, and what else is random (dropout) one of seed and step, so no generator's state is kept.
 */
export interface TrainerState {
  readonly step: number;
  readonly position: Position;
  readonly history: readonly Metric[];
  readonly tensors: readonly NamedTensor[];
  /** Weights of the best validation so far. @default - the run keeps its last */
  readonly best?: readonly NamedTensor[];
  /** Minutes trained so far. @default - none are counted */
  readonly minutes?: number;
}

/** Before the names of the best weights. */
const BEST = 'best validation/';

/** Digest of what must be equal for a checkpoint to be a checkpoint of this run. */
export function runFingerprint({ config, schema, shards, drawn }: StartHeader): string {
  const training = Object.entries(config.training).sort(([a], [b]) => (a < b ? -1 : 1));
  const rows = Object.entries(shards).sort(([a], [b]) => (a < b ? -1 : 1));
  const input = [schema.featureCount, schema.dtype, schema.classes, schema.normalisation];
  const mixed = drawn === undefined ? [] : [drawn];
  return toHex(sha256(utf8(JSON.stringify(['ctrain/run/v1', training, rows, input, ...mixed]))));
}

/** A safetensors file; everything but the tensors stands as JSON in its metadata. */
export function encodeCheckpoint(state: TrainerState, fingerprint: string): Uint8Array {
  const { step, position, history, minutes, best = [] } = state;
  const told = JSON.stringify({ step, position, history, minutes });
  const metadata = { format: 'ctrain/checkpoint/v1', fingerprint, state: told };
  const kept = best.map((tensor) => ({ ...tensor, name: `${BEST}${tensor.name}` }));
  return encodeSafeTensors({ tensors: [...state.tensors, ...kept], metadata });
}

/**
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` where it is no checkpoint, `CONFIG_INVALID` where it belongs to another run
 */
export function decodeCheckpoint(bytes: Uint8Array, fingerprint: string): TrainerState {
  const { tensors, metadata } = decodeSafeTensors(bytes);
  if (metadata.format !== 'ctrain/checkpoint/v1') throw malformed('format is not ctrain/checkpoint/v1');
  if (metadata.fingerprint !== fingerprint) {
    throw new SecureTrainingError('CONFIG_INVALID', 'checkpoint belongs to another configuration or other data');
  }
  let state: Partial<TrainerState>;
  try {
    state = JSON.parse(metadata.state ?? '') as Partial<TrainerState>;
  } catch (cause) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'checkpoint: state is not JSON', { cause });
  }
  const { step, position, history, minutes } = state;
  if (!isCount(step) || !isCount(position?.epoch) || !isCount(position?.row) || !Array.isArray(history)) {
    throw malformed('state lacks step, position or history');
  }
  if (minutes !== undefined && !(typeof minutes === 'number' && minutes >= 0)) throw malformed('minutes is no time');
  const best = tensors
    .filter(({ name }) => name.startsWith(BEST))
    .map((tensor) => ({ ...tensor, name: tensor.name.slice(BEST.length) }));
  return {
    step,
    position: { epoch: position.epoch, row: position.row },
    history,
    tensors: tensors.filter(({ name }) => !name.startsWith(BEST)),
    ...(best.length === 0 ? {} : { best }),
    ...(minutes === undefined ? {} : { minutes }),
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `checkpoint: ${message}`);
}
