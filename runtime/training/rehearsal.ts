import { SecureTrainingError } from '../errors.ts';
import { classWeights } from './class-weights.ts';
import { CustomModuleError, failureOf, moduleFiles } from './custom-error.ts';
import { customObjective, inputSchema, loadCustomModules, watchTensors } from './custom-module.ts';
import { createEngine } from './engine.ts';
import { normaliser, type ShardRows } from './feed.ts';
import type { StartHeader } from './frames.ts';
import { type MemoryNeed, requireMemory } from './memory.ts';
import { buildModel } from './model.ts';
import { describeLayers, type LayerReport, sizeOf } from './model-layers.ts';
import type { Coverage } from './native/compile.ts';
import { decodeSafeTensors } from './safetensors.ts';

export interface RehearsalOptions extends StartHeader {
  /** Folder with the custom modules, where the configuration names any. */
  readonly folder: string;
  readonly backend: string;
  readonly machineBytes: number;
  readonly initialWeights?: Uint8Array;
  /** Rows of the first batch, not normalised; they must be as many as asked for, or all there are. */
  rows(count: number): Promise<ShardRows>;
}

/** What one batch has shown. */
export interface Rehearsal {
  readonly layers: readonly LayerReport[];
  readonly memory: MemoryNeed;
  readonly native: Coverage;
  readonly batch: {
    readonly rows: number;
    readonly milliseconds: number;
    readonly lossBefore: number;
    readonly lossAfter: number;
  };
}

/** How long building a model may take before it is taken for a promise that never settles. */
const PATIENCE_MS = 60_000;

/**
 * Builds the model as a run would, and makes one step. The backend must have been started.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` with all that a custom module said: here it can quote nobody else's rows
 */
export async function rehearse(options: RehearsalOptions): Promise<Rehearsal> {
  try {
    return await firstBatch(options);
  } catch (error) {
    const files = moduleFiles(options.config);
    if (files.length === 0 || (error instanceof SecureTrainingError && !(error instanceof CustomModuleError)))
      throw error;
    const { failure, text } = failureOf(error, 0, files);
    const [first = ''] = text.split('\n');
    throw new SecureTrainingError('CONFIG_INVALID', `${new CustomModuleError(failure, text).message}: ${first}`, {
      cause: error,
    });
  }
}

async function firstBatch(options: RehearsalOptions): Promise<Rehearsal> {
  const { config, folder, backend, machineBytes, initialWeights } = options;
  const modules = await loadCustomModules(folder, config);
  const schema = inputSchema(options, modules);
  // Before there is a model: to make one that does not fit would be the end.
  if (modules.model === undefined) requireMemory({ ...options, schema, backend }, machineBytes);
  const objective = await inTime(customObjective(modules, { config, schema }));
  const layers = describeLayers(objective?.model ?? buildModel(config));
  const memory = requireMemory({ ...options, schema, backend, model: sizeOf(layers) }, machineBytes);
  const engine =
    objective === undefined
      ? createEngine(config, undefined, classWeights(config, schema.classes))
      : watchTensors(createEngine(config, objective));
  if (initialWeights !== undefined) engine.load(decodeSafeTensors(initialWeights).tensors);

  const { features: raw, labels, rows } = await options.rows(config.training.batch_size);
  const features = new Float32Array(rows * schema.featureCount);
  const normalise = normaliser(schema);
  for (let row = 0; row < rows; row++) normalise(raw, row, features, row);
  const batch = { features, labels, rows };
  const lossBefore = engine.evaluate(batch).lossSum / rows;
  const started = performance.now();
  engine.step(batch);
  const loss = engine.loss();
  const milliseconds = performance.now() - started;
  const lossAfter = engine.evaluate(batch).lossSum / rows;
  if (![lossBefore, loss, lossAfter].every(Number.isFinite)) {
    const message = 'loss is not finite after one batch: try a lower learning_rate, or normalised features';
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  const native = engine.nativeCoverage();
  engine.dispose();
  return { layers, memory, native, batch: { rows, milliseconds, lossBefore, lossAfter } };
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new CustomModuleError({ problem: 'silent', step: 0 }, `build took more than ${PATIENCE_MS / 1000} s`);
    timer = setTimeout(() => reject(error), PATIENCE_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
