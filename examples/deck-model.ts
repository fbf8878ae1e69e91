import { defineModel } from 'confidential-training/model';

/** Two layers, as the declarative model has them: what `ctrain init --model` writes. Input, hidden and output size are the configuration's. */
export default defineModel({
  build: (tf, { input_size, hidden_size, output_size, seed }) =>
    tf.sequential({
      layers: [
        tf.layers.dense({
          name: 'hidden',
          inputShape: [input_size],
          units: hidden_size,
          activation: 'relu',
          kernelInitializer: tf.initializers.heUniform({ seed }),
        }),
        tf.layers.dense({
          name: 'probabilities',
          units: output_size,
          activation: 'softmax',
          kernelInitializer: tf.initializers.glorotUniform({ seed: seed + 1 }),
        }),
      ],
    }),
  // Of probabilities; where the outputs are logits it is 'softmaxCrossEntropy'. A function (tf, labels, outputs) may stand here too.
  loss: 'categoricalCrossentropy',
});
