import { setImmediate } from 'node:timers/promises';
import { decodeShard } from '../data/arrow-shard.ts';
import { SecureTrainingError } from '../errors.ts';
import type { ShardRows } from './feed.ts';
import type { FrameChannel } from './frame-channel.ts';
import { type Frame, MAX_OUTSTANDING, type ShardHeader, type StartHeader } from './frames.ts';

/** The worker's view of the broker while it trains. */
export interface BrokerLink {
  /** Asks for one shard; waits its turn while {@link MAX_OUTSTANDING} are asked for already. */
  fetch(split: string, shard: number): Promise<ShardRows>;
  /** Lets what has arrived in: training never waits by itself, so it has to be called between steps. @throws the link's failure */
  breathe(): Promise<void>;
  /** Whether the broker asked to stop. */
  readonly stopping: boolean;
}

/** A step lasts some milliseconds and a socket holds some 200 KiB: several turns let a whole block through. */
const MAX_TURNS = 16;

interface Request extends ShardHeader {
  resolve(rows: ShardRows | Promise<ShardRows>): void;
  reject(reason: unknown): void;
}

/** Turns the bytes of one shard into rows. */
export type OpenShard = (bytes: Uint8Array, header: ShardHeader) => ShardRows | Promise<ShardRows>;

/** @param open instead of reading Arrow: a custom dataset's */
export function brokerLink(channel: FrameChannel, start: StartHeader, open?: OpenShard): BrokerLink {
  const queue: Request[] = [];
  // A list: the end of one epoch and the start of the next may both ask for the same shard.
  const outstanding: Request[] = [];
  let stopping = false;
  let failure: unknown;

  const fail = (reason: unknown) => {
    failure ??= reason;
    for (const request of [...outstanding.splice(0), ...queue.splice(0)]) request.reject(failure);
  };
  const ask = () => {
    while (outstanding.length < MAX_OUTSTANDING) {
      const request = queue.shift();
      if (request === undefined) return;
      const { split, shard } = request;
      outstanding.push(request);
      channel.send('NEED', { split, shard }).catch(fail);
    }
  };
  const take = (frame: Frame) => {
    if (frame.type === 'STOP') {
      stopping = true;
      return;
    }
    const isAnswer = ({ split, shard }: ShardHeader) =>
      frame.type === 'BLOCK' && frame.header.split === split && frame.header.shard === shard;
    const index = outstanding.findIndex(isAnswer);
    const request = outstanding[index];
    if (frame.type !== 'BLOCK' || request === undefined) {
      throw new SecureTrainingError('EVIDENCE_MALFORMED', `found a ${frame.type} frame that nothing asked for`);
    }
    // Checked while it still counts as asked for: if it is refused, whoever asked is told with everybody else.
    const rows = open?.(frame.body, frame.header) ?? checkedRows(frame.body, frame.header, start);
    outstanding.splice(index, 1);
    ask();
    request.resolve(rows);
  };
  const pump = async () => {
    for (let frame = await channel.receive(); frame !== undefined; frame = await channel.receive()) take(frame);
    throw new SecureTrainingError('UNAVAILABLE', 'the broker has gone');
  };
  pump().catch(fail);

  return {
    fetch: (split, shard) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) return reject(failure);
        queue.push({ split, shard, resolve, reject });
        ask();
      }),
    async breathe() {
      let before = -1;
      for (let turn = 0; turn < MAX_TURNS && channel.bytesRead !== before; turn++) {
        before = channel.bytesRead;
        await setImmediate();
      }
      if (failure !== undefined) throw failure;
    },
    get stopping() {
      return stopping;
    },
  };
}

/** Messages say where something is wrong, never what was found there: it may be somebody's data. */
function checkedRows(
  bytes: Uint8Array,
  { split, shard }: ShardHeader,
  { config, schema, shards }: StartHeader,
): ShardRows {
  const where = `${split} shard ${shard}`;
  const decoded = decodeShard(bytes);
  const rows = shards[split]?.[shard];
  const failures: string[] = [];
  if (decoded.rows !== rows) failures.push(`${decoded.rows} rows, wanted ${rows}`);
  if (decoded.featureCount !== schema.featureCount) {
    failures.push(`${decoded.featureCount} features, wanted ${schema.featureCount}`);
  }
  if (decoded.dtype !== schema.dtype) failures.push(`${decoded.dtype} features, wanted ${schema.dtype}`);
  if (decoded.metadata.split !== split) failures.push('it belongs to another split');
  const isValue = schema.classes.length === 0;
  if (decoded.labels instanceof Float32Array !== isValue) {
    failures.push(`labels are ${isValue ? 'classes, wanted values' : 'values, wanted classes'}`);
  }
  if (failures.length > 0) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', `${where}: ${failures.join('; ')}`, { failures });
  }
  // A custom model may have fewer outputs than there are classes.
  const classes = Math.max(config.training.output_size, schema.classes.length);
  const outside = isValue ? -1 : decoded.labels.findIndex((label) => label < 0 || label >= classes);
  if (outside >= 0) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${where}, row ${outside}: its label is not one of ${classes} classes`,
    );
  }
  return decoded;
}
