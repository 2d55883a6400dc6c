import { planWorld, type RankEnd, type RankFailure, type RankReport, spawnRanks } from '@megatron-ts/launch';
import { besideTesting } from './beside-testing.ts';
import type { RankCall, RankReturn } from './rank-message.ts';

/** How ranks are run in a test. */
export interface RankOptions {
  /** Arguments of the function; what a structured clone can carry. */
  readonly args?: readonly unknown[];
  /** Variables on top of those of the test. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Ranks that run longer, in milliseconds, are ended; two minutes when absent. */
  readonly timeoutMs?: number;
}

/** How one rank fared. */
export interface RankOutcome<T> {
  /** Its number in the world. */
  readonly rank: number;
  /** What the function returned; undefined when it did not. */
  readonly value: T | undefined;
  /** Exit status, when it exited. */
  readonly code: number | null;
  /** Signal, when one ended it. */
  readonly signal: string | null;
  /** The error that ended it. */
  readonly error: RankReport | undefined;
  /** What it printed. */
  readonly stdout: string;
  /** What it printed as errors. */
  readonly stderr: string;
}

/** What came of a world. */
export interface Observation<T> {
  /** By rank. */
  readonly outcomes: RankOutcome<T>[];
  /** The failure that came first. */
  readonly failure: RankFailure | undefined;
  /** The deadline in milliseconds, when it passed. */
  readonly timedOut: number | undefined;
}

/** What is called on the ranks, and what a failure does. */
export interface WorldCall {
  /** The function and its arguments. */
  readonly call: RankCall;
  /** What a rank's failure does to the others. */
  readonly onFailure: 'SIGKILL' | 'nothing';
  /** The test's settings. */
  readonly options: RankOptions;
}

/** Runs a world until all its ranks have ended, by themselves or at the deadline. */
export async function observeWorld<T>(size: number, { call, onFailure, options }: WorldCall): Promise<Observation<T>> {
  const { env = {}, timeoutMs = 120_000 } = options;
  const printed = Array.from({ length: size }, () => ({ stdout: '', stderr: '' }));
  const values = new Array<T | undefined>(size).fill(undefined);
  const world = spawnRanks(planWorld({ ranksPerNode: size, nodes: 1, nodeRank: 0 }), {
    script: besideTesting('rank-boot'),
    env: { ...process.env, NODE_OPTIONS: undefined, ...env },
    sink: (rank, stream, chunk) => {
      const own = printed[rank];
      if (own !== undefined) own[stream] += chunk;
    },
    channel: true,
    onFailure,
  });
  for (const { rank, child } of world.ranks) {
    child.once('message', (message) => (values[rank] = (message as RankReturn).value as T));
    child.send(call, () => undefined); // a rank that is gone already tells by its end
  }
  let timedOut: number | undefined;
  const deadline = setTimeout(() => {
    timedOut = timeoutMs;
    world.stop('SIGKILL');
  }, timeoutMs);
  const { ends, failure } = await world.ended;
  clearTimeout(deadline);
  const outcomes = ends.map((end, rank) => outcomeOf(end, values[rank], printed[rank]));
  return { outcomes, failure, timedOut };
}

function outcomeOf<T>({ rank, code, signal, report }: RankEnd, value: T | undefined, printed = { stdout: '', stderr: '' }): RankOutcome<T> {
  return { rank, value, code, signal, error: report, ...printed };
}
