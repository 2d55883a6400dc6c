import { availableParallelism } from 'node:os';
import { type Environment, wholeNumberOf } from './whole-number.ts';

/**
 * How many threads the engine of one rank uses: `MEGATRON_THREADS`, else `OMP_NUM_THREADS`, else this host's cores
 * divided by the ranks on it, and never less than one.
 * @throws ConfigError INVALID_VARIABLE
 */
export function threadsPerRank(localWorldSize: number, { env = process.env, cores = availableParallelism() }: ThreadSources = {}): number {
  const asked = wholeNumberOf(env, 'MEGATRON_THREADS', 1) ?? wholeNumberOf(env, 'OMP_NUM_THREADS', 1);
  return asked ?? Math.max(1, Math.floor(cores / localWorldSize));
}

/** Where `threadsPerRank` looks. */
export interface ThreadSources {
  /** Variables; those of this process when absent. */
  readonly env?: Environment;
  /** Cores of this host. */
  readonly cores?: number;
}
