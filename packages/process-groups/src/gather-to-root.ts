import { type AnyTensor, engine } from '@megatron-ts/tensor';
import { checkCall, requireMember } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { receivedRows } from './received.ts';
import { rowsBrought, type UnevenOptions } from './rows-of-ranks.ts';
import { Work } from './work.ts';

/** Which rank gets all parts, and how many rows each rank brings. */
export interface GatherToRootOptions extends UnevenOptions {
  /** Rank in the group that gets all parts; 0 by default. */
  readonly root?: number;
}

/**
 * The ranks' tensors one after another along dim 0, on the root alone: `[n, …]` becomes `[n · size, …]`, or `[sum of rows, …]`; the
 * others get nothing. `gather` is the operation on one rank that picks elements by index.
 * @throws ShapeError SHAPE_MISMATCH when dim 0 is not what `rows` says; WRONG_RANK for a scalar
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function gatherToRoot(t: AnyTensor, options: GatherToRootOptions): Work<AnyTensor | undefined> {
  const { group, root = 0, timeoutMs } = options;
  checkCall('gather', options);
  requireMember('gather', group, root);
  const { all, counts } = rowsBrought('gather', t.shape, options);
  if (group.size === 1) return new Work<AnyTensor | undefined>('gather', t);
  const out = group.rank === root ? receivedRows(all, t) : undefined;
  const id = engine.gatherToRoot(group.id, t.handle, out?.handle ?? 0, root, counts, labelOf(options));
  return new Work<AnyTensor | undefined>('gather', out, { id, timeoutMs });
}
