import { defineModel } from 'confidential-training/model';

/** Numbers of words that a row may hold; 0 pads short texts. Rows are prepared with `--normalise none`: they are names, not sizes. */
const VOCABULARY = 256;
const DIMENSIONS = 16;

/** A text classifier: every word looked up in an embedding, their mean judged by one layer. */
export default defineModel({
  build: (tf, { input_size, output_size, seed }) =>
    tf.sequential({
      layers: [
        tf.layers.embedding({
          name: 'words',
          inputShape: [input_size],
          inputDim: VOCABULARY,
          outputDim: DIMENSIONS,
          embeddingsInitializer: tf.initializers.randomUniform({ minval: -0.05, maxval: 0.05, seed }),
        }),
        tf.layers.globalAveragePooling1d({ name: 'text' }),
        tf.layers.dense({
          name: 'logits',
          units: output_size,
          kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }),
        }),
      ],
    }),
  loss: 'softmaxCrossEntropy',
});
