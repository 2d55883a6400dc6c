import type { ProcessGroup } from '@megatron-ts/process-groups';
import type { PartialSum, Replicated, Tensor, Whole } from '@megatron-ts/tensor';
import type { SequenceShard } from './mappings.ts';
import {
  copyToTensorParallelRegion,
  gatherFromSequenceParallelRegion,
  reduceFromTensorParallelRegion,
  reduceScatterToSequenceParallelRegion,
} from './mappings.ts';

/** Placement of the residual stream: whole on every rank, or cut along the sequence. */
export type Residual<SP extends boolean> = SP extends true ? SequenceShard : Replicated;

/** The two conjugate mappings between which a parallel block stands. */
export interface Region<R extends Whole> {
  /** From the residual stream to what every rank of the block reads. */
  enter(x: Tensor<R>): Tensor;
  /** From the ranks' summands back to the residual stream. */
  leave(sum: Tensor<PartialSum<'tp'>>): Tensor<R>;
}

/** The region of a group: all-reduces around a whole stream, or gathers and reduce-scatters around a cut sequence. */
export function tensorParallelRegion<SP extends boolean = false>(tpGroup: ProcessGroup, sequenceParallel?: SP): Region<Residual<SP>> {
  const whole: Region<Replicated> = {
    enter: (x) => copyToTensorParallelRegion(x, tpGroup),
    leave: (sum) => reduceFromTensorParallelRegion(sum, tpGroup),
  };
  const cut: Region<SequenceShard> = {
    enter: (x) => gatherFromSequenceParallelRegion(x, tpGroup),
    leave: (sum) => reduceScatterToSequenceParallelRegion(sum, tpGroup),
  };
  return (sequenceParallel === true ? cut : whole) as unknown as Region<Residual<SP>>;
}
