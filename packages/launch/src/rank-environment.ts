import type { Environment } from './whole-number.ts';

/** The ranks that one launcher starts, and the world they belong to. */
export interface WorldPlan {
  /** Ranks in the whole world. */
  readonly worldSize: number;
  /** World rank of the first rank started here. */
  readonly firstRank: number;
  /** How many ranks are started here. */
  readonly localWorldSize: number;
  /** Number of this host, and of all hosts. */
  readonly node: { readonly rank: number; readonly size: number };
  /** Host of rank 0. */
  readonly masterAddr: string;
  /** Port on that host. */
  readonly masterPort: number;
  /** Name of this run. */
  readonly job: string;
}

/** Explicit variables are for odd launchers; a rank that we start must not inherit them from above. */
const overruling = ['MEGATRON_RANK', 'MEGATRON_WORLD_SIZE', 'MEGATRON_LOCAL_RANK', 'MEGATRON_LOCAL_WORLD_SIZE'];

/** Variables of the rank with this number on this host, on top of `base`. */
export function rankEnvironment(plan: WorldPlan, localRank: number, base: Environment): Record<string, string | undefined> {
  const inherited = Object.fromEntries(Object.entries(base).filter(([name]) => !overruling.includes(name)));
  return {
    ...inherited,
    RANK: String(plan.firstRank + localRank),
    WORLD_SIZE: String(plan.worldSize),
    LOCAL_RANK: String(localRank),
    LOCAL_WORLD_SIZE: String(plan.localWorldSize),
    GROUP_RANK: String(plan.node.rank),
    GROUP_WORLD_SIZE: String(plan.node.size),
    MASTER_ADDR: plan.masterAddr,
    MASTER_PORT: String(plan.masterPort),
    MEGATRON_JOB: plan.job,
  };
}
