import { defineModel } from 'confidential-training/model';

/** A number for each row of a table, instead of a class: data prepared with `--classes values`, `output_size` 1. */
export default defineModel({
  build: (tf, { input_size, hidden_size, seed }) =>
    tf.sequential({
      layers: [
        tf.layers.dense({
          name: 'hidden',
          inputShape: [input_size],
          units: hidden_size,
          activation: 'tanh',
          kernelInitializer: tf.initializers.glorotUniform({ seed }),
        }),
        tf.layers.dense({
          name: 'value',
          units: 1,
          kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }),
        }),
      ],
    }),
  loss: 'meanSquaredError',
  metrics: {
    mean_absolute_error: (tf, labels, outputs) => tf.mean(tf.abs(tf.sub(labels, tf.squeeze(outputs, [1])))),
  },
});
