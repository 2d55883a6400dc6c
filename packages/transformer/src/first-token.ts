import type { ProcessGroup } from '@megatron-ts/process-groups';
import type { AnyTensor } from '@megatron-ts/tensor';

/** How the residual stream lies on the ranks of a tensor-parallel group. */
export interface StreamLayout {
  /** The group. */
  readonly tpGroup: ProcessGroup;
  /** Whether the stream is cut along the sequence. */
  readonly sequenceParallel?: boolean | undefined;
}

/** Number in the whole sequence of the first token that this rank holds of `x` `[s, b, h]`, or `[s / t, b, h]` where it is cut. */
export function firstTokenOf({ shape: [rows = 0] }: AnyTensor, { tpGroup, sequenceParallel }: StreamLayout): number {
  return sequenceParallel === true ? tpGroup.rank * rows : 0;
}
