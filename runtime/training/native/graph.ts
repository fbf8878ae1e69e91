import { bytesField, floatField, integerField, join, varint } from './protobuf.ts';

/** tensorflow/core/framework/types.proto */
export const FLOAT = 1;
export const INT32 = 3;

/** Any version that knows the kernels in use will do; this is TensorFlow 2.15's (tensorflow/core/public/version.h). */
const GRAPH_VERSION = 1645;
/** What a SavedModel calls the graph to load. */
export const GRAPH_TAG = 'train';

/** An encoded AttrValue (tensorflow/core/framework/attr_value.proto). */
type Attribute = Uint8Array;
export type Attributes = Readonly<Record<string, Attribute>>;

export const attribute = {
  text: (value: string): Attribute => bytesField(2, value),
  integer: (value: number): Attribute => integerField(3, value),
  decimal: (value: number): Attribute => floatField(4, value),
  flag: (value: boolean): Attribute => integerField(5, value ? 1 : 0),
  type: (value: number): Attribute => integerField(6, value),
  shape: (dimensions: readonly number[]): Attribute => bytesField(7, shapeMessage(dimensions)),
  integers: (values: readonly number[]): Attribute => bytesField(1, bytesField(3, join(values.map(varint)))),
};

function shapeMessage(dimensions: readonly number[]): Uint8Array {
  return join(dimensions.map((size) => bytesField(2, integerField(1, size))));
}

/** Where a tensor comes from: `name` is an operation's first output, `name:1` its second, `^name` only waits for it. */
export type Output = string;

/** A TensorFlow graph under construction: operations, each with the outputs of earlier ones as inputs. */
export class Graph {
  readonly #nodes: Uint8Array[] = [];

  /** Adds an operation of a kind that works on float32 alone. */
  float(op: string, inputs: readonly Output[], attributes: Attributes = {}, name?: string): Output {
    return this.add(op, inputs, { T: attribute.type(FLOAT), ...attributes }, name);
  }

  /** Adds an operation; the name is its own where none is given. NodeDef: tensorflow/core/framework/node_def.proto */
  add(op: string, inputs: readonly Output[], attributes: Attributes, name = `${op}_${this.#nodes.length}`): Output {
    const pairs = Object.entries(attributes).map(([key, value]) =>
      bytesField(5, join([bytesField(1, key), bytesField(2, value)])),
    );
    const parts = [bytesField(1, name), bytesField(2, op), ...inputs.map((input) => bytesField(3, input)), ...pairs];
    this.#nodes.push(bytesField(1, join(parts)));
    return name;
  }

  /** A tensor that never changes; no dimensions make it a single number. */
  constant(values: Float32Array | Int32Array, dimensions: readonly number[] = []): Output {
    const type = values instanceof Float32Array ? FLOAT : INT32;
    const content = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const tensor = join([integerField(1, type), bytesField(2, shapeMessage(dimensions)), bytesField(4, content)]);
    return this.add('Const', [], { dtype: attribute.type(type), value: bytesField(8, tensor) });
  }

  integers(values: readonly number[]): Output {
    return this.constant(Int32Array.from(values), [values.length]);
  }

  number(value: number): Output {
    return this.constant(Float32Array.of(value));
  }

  /** A value that every run is given; -1 stands for a size that may change. */
  placeholder(name: string, type: number, dimensions: readonly number[]): Output {
    return this.add('Placeholder', [], { dtype: attribute.type(type), shape: attribute.shape(dimensions) }, name);
  }

  /** The graph alone in a SavedModel (tensorflow/core/protobuf/saved_model.proto, meta_graph.proto), tagged {@link GRAPH_TAG}. */
  savedModel(): Uint8Array {
    const graph = join([...this.#nodes, bytesField(4, integerField(1, GRAPH_VERSION))]);
    const metaGraph = join([bytesField(1, bytesField(4, GRAPH_TAG)), bytesField(2, graph)]);
    return join([integerField(1, 1), bytesField(2, metaGraph)]);
  }
}
