import type { ProcessGroup } from './process-group.ts';

/** The group of a collective, its deadline, and what errors call it. */
export interface CollectiveOptions {
  /** Ranks that take part; every one of them must call. */
  readonly group: ProcessGroup;
  /** What errors and recorders call this operation; the module path by default. */
  readonly label?: string;
  /** Deadline of this operation in milliseconds from its start; that of the group by default. */
  readonly timeoutMs?: number;
}

/** How values of several ranks become one. Sums run in the order of the group's ranks, so the bits depend on rank numbers only. */
export type ReduceOp = 'sum' | 'avg' | 'max' | 'min' | 'product';

/** The same with a reduction. */
export interface ReductionOptions extends CollectiveOptions {
  /** Reduction; sum by default. */
  readonly op?: ReduceOp;
}

const reduceCodes: Record<ReduceOp, number> = { sum: 0, avg: 1, max: 2, min: 3, product: 4 };

/** The engine's number of a reduction. */
export function reduceCode({ op = 'sum' }: ReductionOptions): number {
  return reduceCodes[op];
}
