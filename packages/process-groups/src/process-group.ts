import { ProcessGroupError } from '@megatron-ts/errors';
import { engine } from '@megatron-ts/tensor';

/** How often each collective ran on a group, and the bytes this rank put in. */
export interface GroupCounts {
  /** Calls of `allReduce`. */
  readonly allReduce: number;
  /** Calls of `allGather`. */
  readonly allGather: number;
  /** Calls of `reduceScatter`. */
  readonly reduceScatter: number;
  /** Calls of `broadcast`. */
  readonly broadcast: number;
  /** Calls of `allToAll`. */
  readonly allToAll: number;
  /** Calls of `exchange`. */
  readonly exchange: number;
  /** Calls of `barrier`. */
  readonly barrier: number;
  /** Bytes this rank put in. */
  readonly bytes: number;
}

const none: GroupCounts = { allReduce: 0, allGather: 0, reduceScatter: 0, broadcast: 0, allToAll: 0, exchange: 0, barrier: 0, bytes: 0 };

/** Ranks that communicate with each other. A group of one returns its input everywhere. */
export class ProcessGroup {
  /** Axis or purpose, as errors name it: `tp`, `dp`, `embedding`, … */
  readonly name: string;
  /** World ranks, in the order of their numbers in the group. */
  readonly ranks: readonly number[];
  /** This rank's number in the group. */
  readonly rank: number;
  private readonly ownId: number | undefined;
  private closed = false;

  /** Groups come from a `ParallelContext`. @param id - the engine's number, none for a group of one */
  constructor({
    name,
    ranks,
    rank,
    id,
  }: {
    readonly name: string;
    readonly ranks: readonly number[];
    readonly rank: number;
    readonly id: number | undefined;
  }) {
    this.name = name;
    this.ranks = ranks;
    this.rank = rank;
    this.ownId = id;
  }

  /** Number of ranks. */
  get size(): number {
    return this.ranks.length;
  }

  /** The engine's number. @throws ProcessGroupError ABORTED after the context was destroyed */
  get id(): number {
    if (this.closed || this.ownId === undefined)
      throw new ProcessGroupError(
        'ABORTED',
        `group ${this.name} [${this.ranks.join(', ')}]: used after its context was destroyed. Initialize a new context.`,
      );
    return this.ownId;
  }

  /** What ran on this group so far. */
  counts(): GroupCounts {
    return this.ownId === undefined || this.closed ? none : engine.groupCounts(this.ownId);
  }

  /** Starts a new count. */
  resetCounts(): void {
    if (this.ownId !== undefined && !this.closed) engine.resetGroupCounts(this.ownId);
  }

  /** Leaves the group. */
  close(): void {
    if (this.ownId !== undefined && !this.closed) engine.groupClose(this.ownId);
    this.closed = true;
  }
}
