import { ProcessGroupError } from '@megatron-ts/errors';
import { engine } from '@megatron-ts/tensor';

/** How often each operation ran on a group, and the bytes this rank put in. */
export interface GroupCounts {
  /** Calls of `allReduce`. */
  readonly allReduce: number;
  /** Calls of `allGather`. */
  readonly allGather: number;
  /** Calls of `reduceScatter`. */
  readonly reduceScatter: number;
  /** Calls of `broadcast`. */
  readonly broadcast: number;
  /** Calls of `reduce`. */
  readonly reduce: number;
  /** Calls of `gatherToRoot`. */
  readonly gather: number;
  /** Calls of `scatter`. */
  readonly scatter: number;
  /** Calls of `allToAll`. */
  readonly allToAll: number;
  /** Calls of `exchange`. */
  readonly exchange: number;
  /** Calls of `send`. */
  readonly send: number;
  /** Calls of `recv`. */
  readonly recv: number;
  /** Calls of `barrier`. */
  readonly barrier: number;
  /** Bytes this rank put in. */
  readonly bytes: number;
}

const none: GroupCounts = {
  allReduce: 0,
  allGather: 0,
  reduceScatter: 0,
  broadcast: 0,
  reduce: 0,
  gather: 0,
  scatter: 0,
  allToAll: 0,
  exchange: 0,
  send: 0,
  recv: 0,
  barrier: 0,
  bytes: 0,
};

/** What a group is made of. */
export interface GroupParts {
  /** What errors call it. */
  readonly name: string;
  /** World ranks, in the order of their numbers in the group. */
  readonly ranks: readonly number[];
  /** This rank's number in the group; -1 when it is not a member. */
  readonly rank: number;
  /** This rank's number in the world; that of `rank` when absent. */
  readonly worldRank?: number;
  /** The engine's number; none for a group of one, or of others. */
  readonly id: number | undefined;
}

/** Ranks that communicate with each other. A group of one returns its input everywhere. */
export class ProcessGroup {
  /** Axis or purpose, as errors name it: `tp`, `dp`, `embedding`, … */
  readonly name: string;
  /** World ranks, in the order of their numbers in the group. */
  readonly ranks: readonly number[];
  /** This rank's number in the group; -1 when it is not a member, and no operation is allowed. */
  readonly rank: number;
  /** This rank's number in the world, where it is known. */
  readonly worldRank: number | undefined;
  private readonly ownId: number | undefined;
  private closed = false;

  /** Groups come from a `ParallelContext`. */
  constructor({ name, ranks, rank, worldRank, id }: GroupParts) {
    this.name = name;
    this.ranks = ranks;
    this.rank = rank;
    this.worldRank = worldRank ?? ranks[rank];
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
