import { generateCek, sealBytes } from '../runtime/crypto/sealed-object.ts';
import { digitConfig } from './digits.ts';
import { SHARD_ROWS, SHARDS, sealedShards, workerRate } from './feed.ts';
import { type Measure, median } from './measure.ts';
import { benchBackends, benchWorker } from './worker.ts';

const EPOCHS = 3;
const ROUNDS = 3;
/** So often that what they cost stands out from what else the machine does. */
const EVERY = 10;
/** Length of the run that takes them at its own pace. */
const USUAL_MS = 15_000;

/**
 * Share of a run that checkpoints take at the default pace: what one costs where there is one every {@link EVERY} steps, against
 * the same run without, both taking turns, times how many a run takes that is left to decide. The broker seals each, as a trainer does; storing it is the network's time.
 */
export async function benchCheckpoint(): Promise<Measure[]> {
  const openShard = await sealedShards();
  const cek = generateCek();
  const onCheckpoint = async (_step: number, bytes: Uint8Array) => void (await sealBytes(bytes, cek));
  const without = digitConfig(EPOCHS);
  const often = { ...without, training: { ...without.training, checkpoint_steps: EVERY } };
  const measures: Measure[] = [];
  for (const backend of benchBackends('checkpoint')) {
    const worker = await benchWorker(backend);
    const times = { without: [] as number[], often: [] as number[] };
    try {
      for (let round = 0; round < ROUNDS; round++) {
        for (const [name, config] of [['without', without] as const, ['often', often] as const]) {
          const { rate } = await workerRate(await worker.start(), { config, openShard, onCheckpoint });
          times[name].push((config.training.batch_size * 1000) / rate);
        }
      }
      const step = median(times.without);
      const each = (median(times.often) - step) * EVERY;
      const epochs = Math.ceil((EPOCHS * USUAL_MS) / (step * stepsOf(EPOCHS)));
      let taken = 0;
      const usual = { ...without, training: { ...without.training, epochs, checkpoint_steps: 0 } };
      await workerRate(await worker.start(), {
        config: usual,
        openShard,
        onCheckpoint: (at, bytes) => {
          taken++;
          return onCheckpoint(at, bytes);
        },
      });
      const method = `${taken} of ${each.toPrecision(3)} ms each, of 784-512-10 with Adam, in ${stepsOf(epochs)} steps of ${step.toPrecision(3)} ms`;
      const value = (100 * taken * each) / (stepsOf(epochs) * step);
      measures.push({ name: `checkpoint-${backend}`, value, unit: '% of wall time', method });
    } finally {
      await worker.remove();
    }
  }
  return measures;
}

function stepsOf(epochs: number): number {
  return epochs * Math.ceil((SHARDS * SHARD_ROWS) / digitConfig(1).training.batch_size);
}
