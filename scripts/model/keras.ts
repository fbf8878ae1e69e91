import { utf8 } from '../../runtime/crypto/bytes.ts';
import { encodeHdf5 } from './hdf5.ts';
import { type LayerDescription, type LayersModel, sequentialLayers } from './layers-model.ts';
import { encodeZip } from './zip.ts';

/** Layers are written as this version describes them; Keras reads what an older one wrote. */
const KERAS_VERSION = '3.0.0';

/** Only for training: a model that is used needs none of it, and its names differ between tfjs and Keras. */
const TRAINING_ONLY = /(?:_initializer|_regularizer|_constraint)$|^batch_input_shape$|^dtype$/;

/**
 * The Keras 3 file format (keras.io "Whole model saving"; keras/src/saving/saving_lib.py): a ZIP archive of `config.json`,
 * `metadata.json` and `model.weights.h5`, in which a layer's weights lie below its class's name in snake case and a counter.
 */
export function encodeKeras(model: LayersModel): Uint8Array {
  const layers = sequentialLayers(model);
  const inputShape = layers.find(({ config }) => config.batch_input_shape !== undefined)?.config.batch_input_shape;
  const name = String(model.topology.config.name);
  const input = { class_name: 'InputLayer', config: { name: 'input', batch_shape: inputShape, dtype: 'float32' } };
  const config = {
    ...keras('keras', 'Sequential', {
      name,
      trainable: true,
      layers: [input, ...layers].map((layer) => keras('keras.layers', layer.class_name, usedConfig(layer))),
    }),
    build_config: { input_shape: inputShape },
  };
  // Keras shows the date and reads nothing from it.
  const metadata = { keras_version: KERAS_VERSION, date_saved: '1980-01-01@00:00:00' };
  return encodeZip([
    ['metadata.json', utf8(JSON.stringify(metadata))],
    ['config.json', utf8(JSON.stringify(config))],
    ['model.weights.h5', kerasWeights(layers, model)],
  ]);
}

function kerasWeights(layers: readonly LayerDescription[], { tensors }: LayersModel): Uint8Array {
  const used = new Map<string, number>();
  const folders = layers
    .filter(({ class_name }) => class_name !== 'InputLayer')
    .map(({ class_name, config }) => {
      const kind = snakeCase(class_name);
      const count = used.get(kind) ?? 0;
      used.set(kind, count + 1);
      return { folder: `layers/${count === 0 ? kind : `${kind}_${count}`}/vars`, layer: config.name };
    });
  const weights = folders.flatMap(({ folder, layer }) =>
    tensors
      .filter((tensor) => tensor.name.startsWith(`${layer}/`))
      .map((tensor, index) => ({ ...tensor, name: `${folder}/${index}` })),
  );
  return encodeHdf5(weights, ['vars', ...folders.map(({ folder }) => folder)]);
}

function keras(module: string, class_name: string, config: Readonly<Record<string, unknown>>) {
  return { module, class_name, config, registered_name: null };
}

function usedConfig({ class_name, config }: { class_name: string; config: Readonly<Record<string, unknown>> }) {
  if (class_name === 'InputLayer') return config;
  return Object.fromEntries(Object.entries(config).filter(([name]) => !TRAINING_ONLY.test(name)));
}

/** As keras/src/utils/naming.py: `BatchNormalization` is `batch_normalization`, `Conv2D` is `conv2d`. */
function snakeCase(name: string): string {
  return name
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}
