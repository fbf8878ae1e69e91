import type { Rows } from '../../runtime/data/arrow-shard.ts';

/** Park and Miller's minimal standard generator (CACM 31:10): the same rows for the same seed, everywhere. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Texts of 20 word numbers: 1 to 100 stand anywhere, 101 to 150 more often in good ones, 151 to 200 in bad ones; 0 pads. */
export function reviews(seed: number, count: number): Rows {
  const random = generator(seed);
  const labels = Int32Array.from({ length: count }, () => Number(random() < 0.5));
  const features = new Uint8Array(count * 20);
  for (let row = 0; row < count; row++) {
    const words = 12 + Math.floor(random() * 9);
    for (let i = 0; i < words; i++) {
      const isPlain = random() < 0.4;
      const isGood = random() < 0.8 === (labels[row] === 1);
      const from = isPlain ? 1 : isGood ? 101 : 151;
      features[row * 20 + i] = from + Math.floor(random() * (isPlain ? 100 : 50));
    }
  }
  return { features, featureCount: 20, labels };
}

/** A file as examples/recording-dataset.ts reads it: six readings around a place that depends on the class. */
export function recordings(seed: number, count: number): Uint8Array {
  const random = generator(seed);
  const view = new DataView(new ArrayBuffer(8 + count * 13));
  view.setUint32(0, 0x52454331, true);
  view.setUint16(4, 6, true);
  view.setUint16(6, count, true);
  for (let record = 0; record < count; record++) {
    const label = Math.floor(random() * 3);
    for (let i = 0; i < 6; i++) {
      const centre = i % 3 === label ? 1500 : -500;
      view.setInt16(8 + record * 13 + i * 2, Math.round(centre + (random() - 0.5) * 2500), true);
    }
    view.setUint8(8 + record * 13 + 12, label);
  }
  return new Uint8Array(view.buffer);
}

/** A csv of size, age and distance with a price that follows no straight line: fractions, for a regression. */
export function houses(seed: number, count: number): string {
  const random = generator(seed);
  const lines = Array.from({ length: count }, () => {
    const [size, age, distance] = [20 + random() * 180, random() * 100, random() * 30];
    const price = 0.02 * size + Math.sin(age / 20) - 0.002 * distance ** 2 + (random() - 0.5) * 0.1;
    return [size.toFixed(1), age.toFixed(0), distance.toFixed(2), price.toFixed(3)].join(',');
  });
  return `size,age,distance,target\n${lines.join('\n')}\n`;
}
