import type { FeatureArray, FeatureType } from '../arrow-shard.ts';
import type { RowPlace } from './bad-rows.ts';

/** Rows of one shape, with a class number each; read as often as asked for. */
export interface ArraySource {
  readonly rows: number;
  readonly featureCount: number;
  readonly dtype: FeatureType;
  /** Names of classes 0, 1, …, where the input has names. */
  readonly classNames?: readonly string[];
  /** For the report and `dataset.json`: sizes of one row, such as height, width, colours. */
  readonly shape: readonly number[];
  /** Whether some rows came as test rows. */
  readonly hasTestRows: boolean;
  /** Class numbers alone, in row order. */
  labels(): AsyncIterable<Int32Array>;
  /** The last batch of each file may be smaller. Each batch is fresh memory. */
  batches(batchRows: number): AsyncIterable<ArrayBatch>;
}

export interface ArrayBatch {
  readonly features: FeatureArray;
  readonly labels: Int32Array;
  /** Came as test rows, and stay it. */
  readonly isTest: boolean;
  /** File that is being read. */
  readonly name: string;
  /** Where a row of this batch stands. */
  place(row: number): RowPlace;
  /** Why a row of this batch cannot be used. */
  problem?(row: number): string | undefined;
}
