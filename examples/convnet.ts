import { defineModel } from 'confidential-training/model';

/** A small convolutional network for square pictures of one channel. Rows stay as they were sealed: the engine shapes them as the input. */
export default defineModel({
  build(tf, { input_size, output_size, seed }) {
    const side = Math.sqrt(input_size);
    if (!Number.isInteger(side)) throw new RangeError(`input_size ${input_size} is no square picture`);
    const convolution = (name: string, filters: number, draw: number) =>
      tf.layers.conv2d({
        name,
        filters,
        kernelSize: 3,
        padding: 'same',
        activation: 'relu',
        kernelInitializer: tf.initializers.heUniform({ seed: seed + draw }),
        ...(draw === 0 ? { inputShape: [side, side, 1] } : {}),
      });
    return tf.sequential({
      layers: [
        convolution('edges', 16, 0),
        tf.layers.maxPooling2d({ name: 'halved', poolSize: 2 }),
        convolution('shapes', 32, 1),
        tf.layers.maxPooling2d({ name: 'quartered', poolSize: 2 }),
        tf.layers.flatten({ name: 'flat' }),
        tf.layers.dense({
          name: 'logits',
          units: output_size,
          kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 2 }),
        }),
      ],
    });
  },
  // The outputs are logits: taken together with softmax, the sum of exponentials cannot overflow.
  loss: 'softmaxCrossEntropy',
});
