import { EngineError, ProcessGroupError } from '@megatron-ts/errors';
import type { Launch } from '@megatron-ts/launch';
import { engine } from '@megatron-ts/tensor';

/** Deadlines of a world, in milliseconds. */
export interface Deadlines {
  /** An operation that takes longer fails and names who is missing. */
  readonly timeoutMs: number;
  /** An operation that takes longer is warned about. */
  readonly slowMs: number;
}

interface Membership {
  readonly handle: number;
  readonly contexts: Map<string, number>;
}

// A process is a member of its job once, however many contexts it opens, and until it ends: the one thing that belongs to the process.
const memberships = new Map<string, Membership>();

function join({ job, rank, worldSize: size }: Launch, { timeoutMs, slowMs }: Deadlines): Membership {
  const handle = joinOrSay({ job, rank, size, timeoutMs, slowMs, joinTimeoutMs: timeoutMs });
  process.once('exit', (code) => {
    if (code === 0) engine.worldLeave(handle); // peers of a rank that failed are told that it died, not that it left
  });
  return { handle, contexts: new Map() };
}

/** A world that cannot be joined (its size differs, shared memory is full) is a matter of process groups, not of one operation. */
function joinOrSay(options: Parameters<typeof engine.worldJoin>[0]): number {
  try {
    return engine.worldJoin(options);
  } catch (cause) {
    if (cause instanceof EngineError && cause.code === 'ENGINE_REFUSED')
      throw new ProcessGroupError('JOIN_FAILED', cause.message, { cause });
    throw cause;
  }
}

/** This process's membership of a job. */
export class World {
  private readonly membership: Membership | undefined;

  private constructor(membership: Membership | undefined) {
    this.membership = membership;
  }

  /** Joins the job, or returns the membership there is. A world of one needs none. */
  static join(launch: Launch, deadlines: Deadlines): World {
    if (launch.worldSize === 1) return new World(undefined);
    const membership = memberships.get(launch.job) ?? join(launch, deadlines);
    memberships.set(launch.job, membership);
    return new World(membership);
  }

  /** A number that tells contexts over the same ranks apart, the same on all of them. */
  nextContext(ranks: readonly number[]): number {
    const key = ranks.join(',');
    const number = this.membership?.contexts.get(key) ?? 0;
    this.membership?.contexts.set(key, number + 1);
    return number;
  }

  /** Opens a group of world ranks; none is needed for one rank. */
  openGroup(name: string, ranks: readonly number[]): number | undefined {
    if (ranks.length === 1 || this.membership === undefined) return undefined;
    return engine.groupOpen(this.membership.handle, name, Uint32Array.from(ranks));
  }
}
