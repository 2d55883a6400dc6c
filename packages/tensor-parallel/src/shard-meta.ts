import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type ParamMeta, type Sharded, wholeTensor } from '@megatron-ts/tensor';

/** A weight of which each rank holds equal parts along one dim. */
export interface ShardedWeight {
  /** Shape of one whole tensor. */
  readonly globalShape: readonly number[];
  /** The dim that is cut. */
  readonly dim: 0 | 1;
  /** Ranks that share it. */
  readonly tpGroup: ProcessGroup;
  /** Suffixes of the tensors that lie one after another along `dim` of the local weight; one without a suffix by default. */
  readonly parts?: readonly string[];
}

/** Where this rank's part of each tensor lies, in the whole and in local memory. */
export function shardedMeta({ globalShape, dim, tpGroup, parts = [''] }: ShardedWeight): ParamMeta {
  const share = (globalShape[dim] ?? 0) / tpGroup.size;
  const at = (offset: number) => globalShape.map((_, i) => (i === dim ? offset : 0));
  const extent = globalShape.map((size, i) => (i === dim ? share : size));
  const logical = parts.map((suffix, part) => ({
    suffix,
    globalShape,
    rectangles: [{ globalOffset: at(tpGroup.rank * share), localOffset: at(part * share), extent }],
  }));
  return { ...wholeTensor(globalShape), logical, shardedOver: ['tp'] };
}

/** The meta of a weight that every rank holds whole; under sequence parallelism each rank's gradient is a summand of the true one. */
export function replicatedMeta(shape: readonly number[], sequenceParallel: boolean | undefined): ParamMeta {
  return { ...wholeTensor(shape), gradPartialOver: sequenceParallel === true ? ['tp'] : [] };
}

/** The placement of a weight cut along `dim`; in a group of one it is whole, and so is all that follows from it. */
export function shardPlacement<Dim extends string>(dim: Dim, tpGroup: ProcessGroup): Sharded<'tp', Dim> {
  return (tpGroup.size === 1 ? 'replicated' : `${dim} sharded over tp`) as Sharded<'tp', Dim>;
}
