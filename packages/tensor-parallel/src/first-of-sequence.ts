import { broadcast, type ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, cat, defineOp, reshape, slice, type Tensor, whereInModel, zeros } from '@megatron-ts/tensor';
import type { Residual } from './region.ts';

/** The first row of rank 0's part of the sequence, on every rank. */
const broadcastFirst = defineOp({
  name: 'firstOfSequence',
  forward: (x: AnyTensor, tpGroup: ProcessGroup) => {
    const { shape, dtype } = x;
    const row = tpGroup.rank === 0 ? slice(x, 0, { start: 0, end: 1 }) : zeros([1, ...shape.slice(1)], dtype); // [1, b, h]
    const output = broadcast(row, { group: tpGroup, label: whereInModel('broadcast') }).wait();
    return { output, saved: { isFirst: tpGroup.rank === 0, rows: shape[0] ?? 0 } };
  },
  // What follows is the same on every rank, and so is the gradient: it belongs to the rank whose row it is, once.
  backward: (grad, { isFirst, rows }) => {
    const [, ...row] = grad.shape;
    const below = rows > 1 ? [zeros([rows - 1, ...row], grad.dtype)] : [];
    return [isFirst ? cat([grad, ...below], 0) : null, null]; // [s / t, b, h]
  },
  placement: () => 'replicated',
});

/**
 * The first token of each sample on every rank, `[s, b, h]` to `[b, h]`; of a sequence that is cut over the ranks only that one row
 * travels: forward broadcast from rank 0, backward nothing. What every rank makes of it must be the same.
 */
export function firstOfSequence<SP extends boolean = false>(x: Tensor<Residual<SP>>, tpGroup: ProcessGroup, sequenceParallel?: SP): Tensor {
  const isCut = sequenceParallel === true && tpGroup.size > 1;
  const row = isCut ? broadcastFirst(x as AnyTensor, tpGroup) : slice(x as AnyTensor, 0, { start: 0, end: 1 }); // [1, b, h]
  return reshape(row, row.shape.slice(1)); // [b, h]
}
