import * as tf from '@tensorflow/tfjs-core';
import type { KernelArguments } from './kernel-call.ts';

/** Adds up rows of equal segment id: the gradient of an embedding's look-up. Ids outside are left out, as tfjs does on cpu. */
export function unsortedSegmentSum({
  inputs: { x, segmentIds },
  attrs: { numSegments },
  backend,
}: KernelArguments<'x' | 'segmentIds', tf.UnsortedSegmentSumAttrs>): tf.TensorInfo {
  const width = tf.util.sizeFromShape(x.shape.slice(1));
  const result = backend.makeOutput([numSegments, ...x.shape.slice(1)], x.dtype);
  const values = backend.typedArrayFromHeap(x);
  const ids = backend.typedArrayFromHeap(segmentIds);
  const sums = backend.typedArrayFromHeap(result);
  sums.fill(0);
  for (let row = 0; row < ids.length; row++) {
    const segment = ids[row] as number;
    if (segment < 0 || segment >= numSegments) continue;
    for (let i = 0, to = segment * width, from = row * width; i < width; i++, to++, from++) {
      sums[to] = (sums[to] as number) + (values[from] as number);
    }
  }
  return result;
}
