import type * as tfl from '@tensorflow/tfjs-layers';
import type { ModelSize } from './memory.ts';

/** A layer as people look at it. */
export interface LayerReport {
  readonly name: string;
  /** tfjs's name of its kind. */
  readonly kind: string;
  /** Of its first output, without the batch's size; `null` for a size that changes. */
  readonly shape: readonly (number | null)[];
  readonly parameters: number;
  /** Those of them that are learned. */
  readonly trained: number;
}

/** Every layer, from input to output. */
export function describeLayers(model: tfl.LayersModel): LayerReport[] {
  return model.layers.map((layer) => {
    const count = (weights: readonly { shape: tfl.Shape }[]) =>
      weights.reduce((sum, { shape }) => sum + product(shape), 0);
    return {
      name: layer.name,
      kind: layer.getClassName(),
      shape: outputShape(layer).slice(1),
      parameters: count(layer.weights),
      trained: count(layer.trainableWeights),
    };
  });
}

/** What the layers together take. A size that changes counts as one. */
export function sizeOf(layers: readonly LayerReport[]): ModelSize {
  const sum = (value: (layer: LayerReport) => number) => layers.reduce((total, layer) => total + value(layer), 0);
  return {
    weights: sum(({ parameters }) => parameters),
    trained: sum(({ trained }) => trained),
    activations: sum(({ shape }) => product(shape)),
  };
}

/** Of its first use: a layer that is used twice has no one output. */
function outputShape({ inboundNodes: [first] }: tfl.layers.Layer): readonly (number | null)[] {
  const shapes = first?.outputShapes ?? [];
  return Array.isArray(shapes[0]) ? shapes[0] : (shapes as tfl.Shape);
}

function product(shape: readonly (number | null)[]): number {
  return shape.reduce<number>((total, size) => total * (size ?? 1), 1);
}
