import { utf8 } from './crypto/bytes.ts';
import { checkShape, members, oneOf, parseJson } from './shape.ts';
import { type DatasetSchema, datasetSchemaShape } from './statements/manifest.ts';

/** What a model has to be told with: how a row of the table becomes the numbers that it was trained on, and what its outputs mean. */
export interface Preprocessing {
  readonly version: 1;
  readonly schema: DatasetSchema;
}

const shape = members<Preprocessing>({ version: oneOf(1), schema: datasetSchemaShape });

/** The model file `preprocessing.json`: a subject of the receipt, so that nobody can swap two classes unnoticed. */
export function encodePreprocessing(schema: DatasetSchema): Uint8Array {
  return utf8(JSON.stringify({ version: 1, schema } satisfies Preprocessing));
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parsePreprocessing(bytes: Uint8Array, what = 'preprocessing.json'): Preprocessing {
  return checkShape(shape, parseJson(bytes, what), what);
}
