import { type AnyTensor, engine, placeCollective } from '@megatron-ts/tensor';
import { reduceCode, type ReductionOptions } from './collective-options.ts';
import { checkCall } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { receivedRows } from './received.ts';
import { rowsTaken, type UnevenOptions } from './rows-of-ranks.ts';
import { Work } from './work.ts';

/** The reduction, and how many rows each rank keeps. */
export interface ReduceScatterOptions extends ReductionOptions, UnevenOptions {}

/**
 * Reduces over the group and leaves each rank its rows of dim 0: `[n, …]` becomes `[n / size, …]`, or `[rows of this rank, …]`.
 * @throws ShapeError SHAPE_MISMATCH when dim 0 does not divide or is not what `rows` says; WRONG_RANK for a scalar
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function reduceScatter(t: AnyTensor, options: ReduceScatterOptions): Work<AnyTensor> {
  const { group, timeoutMs } = options;
  checkCall('reduceScatter', options);
  const { own, counts } = rowsTaken('reduceScatter', t.shape, options);
  if (group.size === 1) return new Work('reduceScatter', t);
  const out = receivedRows(own, t);
  placeCollective(out, t, { op: 'reduceScatter', axis: group.name, reduction: options.op });
  const id = engine.reduceScatter(group.id, t.handle, out.handle, reduceCode(options), counts, labelOf(options));
  return new Work('reduceScatter', out, { id, timeoutMs });
}
