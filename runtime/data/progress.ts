/** How far a step over data is. `done` never decreases and ends at `total`. */
export interface DataProgress {
  readonly step: 'prepare' | 'encrypt' | 'upload' | 'download' | 'rotate';
  /** File or object being worked on. */
  readonly name: string;
  readonly done: number;
  readonly total: number;
  readonly unit: 'bytes' | 'rows' | 'objects';
}

export type OnDataProgress = (progress: DataProgress) => void;
