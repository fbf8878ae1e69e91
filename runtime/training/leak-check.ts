/** A bug of ours, in words that hold no data. */
export class TensorLeak extends Error {
  override readonly name = 'TensorLeak';
}

/** Watches that training keeps no tensor: memory that grows a little with each step ends a long run, and long after its cause. */
export interface LeakCheck {
  /** The first one makes the optimizer's own: what there is after it, there is after every other. */
  afterStep(): void;
  /** @throws {@link TensorLeak} where there are more or fewer than after the first step */
  afterEpoch(epoch: number): void;
}

/** @param count of all tensors there are */
export function leakCheck(count: () => number): LeakCheck {
  let expected: number | undefined;
  return {
    afterStep() {
      expected ??= count();
    },
    afterEpoch(epoch) {
      if (expected === undefined) return;
      const found = count();
      if (found === expected) return;
      const message = `${found} tensors after epoch ${epoch}, wanted the ${expected} of the first step: the trainer keeps some`;
      throw new TensorLeak(message);
    },
  };
}
