import { generateCek, sealBytes } from '../runtime/crypto/sealed-object.ts';
import { parseTrainingConfig } from '../runtime/training-config.ts';
import { digitConfig } from './digits.ts';
import { sealedShards, workerRate } from './feed.ts';
import { type Measure, median } from './measure.ts';
import { benchBackends, benchWorker } from './worker.ts';

const EPOCHS = 3;
const ROUNDS = 3;
/** So often that what they cost stands out from what else the machine does. */
const EVERY = 10;

/**
 * Share of a run that checkpoints take at the default interval: what one costs where there is one every {@link EVERY} steps, against
 * the same run without, both taking turns. The broker seals each, as a trainer does; storing it is the network's time.
 */
export async function benchCheckpoint(): Promise<Measure[]> {
  const openShard = await sealedShards();
  const cek = generateCek();
  const onCheckpoint = async (_step: number, bytes: Uint8Array) => void (await sealBytes(bytes, cek));
  const without = digitConfig(EPOCHS);
  const often = { ...without, training: { ...without.training, checkpoint_steps: EVERY } };
  const { checkpoint_steps: interval } = parseTrainingConfig({
    training: { input_size: 1, hidden_size: 1, output_size: 2 },
  }).training;
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
    } finally {
      await worker.remove();
    }
    const step = median(times.without);
    const each = (median(times.often) - step) * EVERY;
    const method = `${each.toPrecision(3)} ms a checkpoint of 784-512-10 with Adam, one every ${interval} steps`;
    measures.push({
      name: `checkpoint-${backend}`,
      value: (100 * each) / (interval * step),
      unit: '% of wall time',
      method,
    });
  }
  return measures;
}
