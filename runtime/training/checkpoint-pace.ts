/** Time between two checkpoints is this many times what the last one took: a quarter of a per cent of a run, sealing beside it not counted. */
const COSTS_BETWEEN = 400;
/** No sooner than this: what a kill takes is made again in as long. */
const LEAST_MS = 5000;

/** When checkpoints are due. It decides nothing about the weights: a run may be cut anywhere. */
export interface CheckpointPace {
  due(step: number): boolean;
  /** Does the work of one and takes its time. */
  take<T>(work: () => Promise<T>): Promise<T>;
}

/** @param everySteps 0 lets time decide */
export function checkpointPace(everySteps: number, now: () => number = () => performance.now()): CheckpointPace {
  let last = now();
  let cost = 0;
  return {
    due: (step) =>
      everySteps > 0 ? step % everySteps === 0 : now() - last >= Math.max(LEAST_MS, COSTS_BETWEEN * cost),
    async take(work) {
      const started = now();
      const result = await work();
      last = now();
      cost = last - started;
      return result;
    },
  };
}
