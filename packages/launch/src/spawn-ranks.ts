import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFlags } from './node-flags.ts';
import { rankEnvironment, type WorldPlan } from './rank-environment.ts';
import { firstFailure, type RankFailure } from './rank-failure.ts';
import { type OutputSink, type RankEnd, RankProcess } from './rank-process.ts';
import { removeSharedMemory } from './shared-memory-leftovers.ts';
import type { Environment } from './whole-number.ts';

/** How the ranks of a plan are started and ended. */
export interface SpawnSettings {
  /** Path or URL of the program. */
  readonly script: string;
  /** Its arguments. */
  readonly args?: readonly string[];
  /** Variables of all ranks; those of this process when absent. */
  readonly env?: Environment;
  /** Variables of one rank, by its number on this host. */
  readonly envOf?: (localRank: number) => Environment;
  /** Where output goes. */
  readonly sink: OutputSink;
  /** Opens a channel for messages to each rank. */
  readonly channel?: boolean;
  /** What the first failure does to the others: a signal, or nothing when they shall see it themselves. */
  readonly onFailure: 'SIGTERM' | 'SIGKILL' | 'nothing';
  /** How long a rank may take after SIGTERM, in milliseconds. */
  readonly graceMs?: number;
}

/** How a run ended. */
export interface RunEnd {
  /** Each rank's end, by its number on this host. */
  readonly ends: readonly RankEnd[];
  /** The failure that came first; undefined when none failed by itself. */
  readonly failure: RankFailure | undefined;
}

/** Ranks that run. */
export interface RunningRanks {
  /** The processes, by their number on this host. */
  readonly ranks: readonly RankProcess[];
  /** Resolves when all have ended and nothing of them is left; never rejects. */
  readonly ended: Promise<RunEnd>;
  /** Passes a signal on to all ranks; what ends them from then on is no failure of theirs unless they report one. */
  signal(signal: NodeJS.Signals): void;
  /** Ends all ranks: SIGTERM, then SIGKILL after the grace; or SIGKILL at once. */
  stop(signal: 'SIGTERM' | 'SIGKILL'): void;
}

/** Starts the ranks of `plan` on this host. The first failure ends the others; no process and no shared memory stays behind. */
export function spawnRanks(plan: WorldPlan, settings: SpawnSettings): RunningRanks {
  const { script, args = [], env = process.env, envOf, sink, channel = false, onFailure, graceMs = 3000 } = settings;
  const reports = mkdtempSync(join(tmpdir(), 'megatron-run-'));
  const flags = [...nodeFlags(script), script, ...args];
  const ranks = Array.from({ length: plan.localWorldSize }, (_, localRank) => {
    const own = { ...rankEnvironment(plan, localRank, env), ...envOf?.(localRank) };
    const rank = plan.firstRank + localRank;
    return new RankProcess({ rank, args: flags, env: own, reportFile: join(reports, `rank-${rank}.json`), channel }, sink);
  });

  let stoppedAt = Number.POSITIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  const signal = (name: NodeJS.Signals): void => {
    stoppedAt = Math.min(stoppedAt, Date.now());
    for (const rank of ranks) rank.kill(name);
  };
  const stop = (name: 'SIGTERM' | 'SIGKILL'): void => {
    signal(name);
    if (name === 'SIGTERM') timer ??= setTimeout(() => signal('SIGKILL'), graceMs);
  };
  // Whatever ends this process, the ranks go with it.
  const atExit = (): void => signal('SIGKILL');
  process.once('exit', atExit);

  const watch = async (rank: RankProcess): Promise<RankEnd> => {
    const end = await rank.ended;
    if (end.code !== 0 && onFailure !== 'nothing') stop(onFailure);
    return end;
  };
  const finish = async (): Promise<RunEnd> => {
    const ends = await Promise.all(ranks.map(watch));
    clearTimeout(timer);
    process.off('exit', atExit);
    rmSync(reports, { recursive: true, force: true });
    removeSharedMemory(plan.job);
    return { ends, failure: firstFailure(ends, stoppedAt) };
  };
  return { ranks, ended: finish(), signal, stop };
}
