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
  users: number;
  readonly contexts: Map<string, number>;
}

// A process is a member of its job once, however many contexts it opens: the one thing that belongs to the process.
const memberships = new Map<string, Membership>();

/** This process's membership of a job. */
export class World {
  private readonly launch: Launch;
  private readonly membership: Membership | undefined;

  private constructor(launch: Launch, membership: Membership | undefined) {
    this.launch = launch;
    this.membership = membership;
  }

  /** Joins the job, or adds a user to the membership there is. A world of one needs none. */
  static join(launch: Launch, { timeoutMs, slowMs }: Deadlines): World {
    if (launch.worldSize === 1) return new World(launch, undefined);
    let membership = memberships.get(launch.job);
    if (membership === undefined) {
      const { job, rank, worldSize: size } = launch;
      membership = {
        handle: engine.worldJoin({ job, rank, size, timeoutMs, slowMs, joinTimeoutMs: timeoutMs }),
        users: 0,
        contexts: new Map(),
      };
      memberships.set(job, membership);
    }
    membership.users++;
    return new World(launch, membership);
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

  /** Gives the membership back; the last user leaves the job. */
  leave(): void {
    const { membership } = this;
    if (membership === undefined || --membership.users > 0) return;
    memberships.delete(this.launch.job);
    engine.worldLeave(membership.handle);
  }
}
