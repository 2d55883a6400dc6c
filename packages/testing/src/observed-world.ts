import type { RankEnd, RankFailure, RankReport, WorldPlan } from '@megatron-ts/launch';
import type { RankCall } from './rank-call.ts';

/** How ranks are run in a test. */
export interface RankOptions {
  /** Arguments of the function; what a structured clone can carry. */
  readonly args?: readonly unknown[];
  /** Variables on top of those of the test. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Ranks that run longer, in milliseconds, are ended; two minutes when absent. */
  readonly timeoutMs?: number;
  /**
   * Runs the ranks as worker threads of this process, with backend `sim`: quicker to start, in one debugger, but they share the engine's
   * threads, and what the engine itself prints is not theirs. Processes by default.
   */
  readonly inProcess?: boolean;
}

/** How one rank fared. */
export interface RankOutcome<T> {
  /** Its number in the world. */
  readonly rank: number;
  /** What the function returned; undefined when it did not. */
  readonly value: T | undefined;
  /** Exit status, when it exited. */
  readonly code: number | null;
  /** Signal, when one ended it; threads are ended as if by SIGKILL. */
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

/** A world about to run: a call, the ranks' plan, and all their common variables. */
export interface PlannedWorld extends Omit<WorldCall, 'options'> {
  /** Which ranks there are. */
  readonly plan: WorldPlan;
  /** Variables of all ranks. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ranks that run longer, in milliseconds, are ended. */
  readonly timeoutMs: number;
}

/** What ranks return and print, as it comes. */
export class RankLog<T> {
  private readonly values: (T | undefined)[];
  private readonly printed: { stdout: string; stderr: string }[];

  constructor(size: number) {
    this.values = new Array<T | undefined>(size).fill(undefined);
    this.printed = Array.from({ length: size }, () => ({ stdout: '', stderr: '' }));
  }

  /** Notes what a rank returned. */
  returned(rank: number, value: unknown): void {
    this.values[rank] = value as T;
  }

  /** Notes what a rank printed. */
  wrote(rank: number, stream: 'stdout' | 'stderr', text: string): void {
    const own = this.printed[rank];
    if (own !== undefined) own[stream] += text;
  }

  /** How the ranks fared that ended like this, in the order of ranks. */
  outcomes(ends: readonly RankEnd[]): RankOutcome<T>[] {
    return ends.map(({ rank, code, signal, report }) => {
      const { stdout, stderr } = this.printed[rank] ?? { stdout: '', stderr: '' };
      return { rank, value: this.values[rank], code, signal, error: report, stdout, stderr };
    });
  }
}
