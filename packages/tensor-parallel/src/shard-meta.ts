import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type InitRule, type ParamMeta, type Sharded, wholeTensor } from '@megatron-ts/tensor';

/** A weight of which each rank holds an equal part along one dim. */
export interface ShardedWeight {
  /** Shape of the whole tensor. */
  readonly globalShape: readonly number[];
  /** The dim that is cut. */
  readonly dim: 0 | 1;
  /** Ranks that share it. */
  readonly tpGroup: ProcessGroup;
}

/** Where this rank's part of the tensor lies, in the whole and in local memory. */
export function shardedMeta({ globalShape, dim, tpGroup }: ShardedWeight): ParamMeta {
  const share = (globalShape[dim] ?? 0) / tpGroup.size;
  const globalOffset = globalShape.map((_, i) => (i === dim ? tpGroup.rank * share : 0));
  const extent = globalShape.map((size, i) => (i === dim ? share : size));
  const rectangles = [{ globalOffset, localOffset: globalShape.map(() => 0), extent }];
  return { ...wholeTensor(globalShape), logical: [{ suffix: '', globalShape, rectangles }], shardedOver: ['tp'] };
}

/** One of the tensors that lie one after another in a weight, each cut along its rows. */
export interface StackedPart {
  /** Added to the parameter's name. */
  readonly suffix: string;
  /** Rows of the whole tensor. */
  readonly rows: number;
  /** Consecutive ranks that hold the same rows, each with a summand of their gradient; 1 by default. */
  readonly copies?: number;
  /** How it is filled; as the weight by default. */
  readonly init?: InitRule | undefined;
}

/** Rows of a part that each rank holds. */
export function localRows({ rows, copies = 1 }: StackedPart, { size }: ProcessGroup): number {
  return (rows * copies) / size;
}

/** Where this rank's rows of each part lie. @param trailing - extents of a row */
export function stackedMeta(parts: readonly StackedPart[], tpGroup: ProcessGroup, trailing: readonly number[] = []): ParamMeta {
  const behind = trailing.map(() => 0);
  let offset = 0;
  const logical = parts.map((part) => {
    const { suffix, rows, copies = 1, init } = part;
    const share = localRows(part, tpGroup);
    const globalOffset = [Math.floor(tpGroup.rank / copies) * share, ...behind];
    const rectangles = [{ globalOffset, localOffset: [offset, ...behind], extent: [share, ...trailing] }];
    offset += share;
    return { suffix, globalShape: [rows, ...trailing], rectangles, ...(copies === 1 ? {} : { copies }), init };
  });
  return { ...wholeTensor([]), logical, shardedOver: ['tp'] };
}

/** The meta of a weight that every rank holds whole; under sequence parallelism each rank's gradient is a summand of the true one. */
export function replicatedMeta(shape: readonly number[], sequenceParallel: boolean | undefined): ParamMeta {
  return { ...wholeTensor(shape), gradPartialOver: sequenceParallel === true ? ['tp'] : [] };
}

/** The placement of a weight cut along `dim`; in a group of one it is whole, and so is all that follows from it. */
export function shardPlacement<Dim extends string>(dim: Dim, tpGroup: ProcessGroup): Sharded<'tp', Dim> {
  return (tpGroup.size === 1 ? 'replicated' : `${dim} sharded over tp`) as Sharded<'tp', Dim>;
}
