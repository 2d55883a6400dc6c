/** The static checker: what is proven about a schedule before any rank runs it. */
import { computeParts } from './action.ts';
import { computationProblems } from './check-computations.ts';
import { deadlockProblem } from './check-rendezvous.ts';
import { transferProblems } from './check-transfers.ts';
import { peakActivations } from './live-activations.ts';
import type { Schedule } from './schedule.ts';
import type { ScheduleProblem } from './schedule-problem.ts';

/** What the checker found. */
export interface ScheduleReport {
  /** Broken rules; none for a schedule that can run. Later rules are looked at only when the earlier ones hold. */
  readonly problems: readonly ScheduleProblem[];
  /**
   * Whether every stage has one owner and gets its weight gradients in microbatch order, so that their sum is bitwise that of every
   * other ordered schedule.
   */
  readonly ordered: boolean;
  /** The most activations each rank holds at once, in units of one stage's forward pass for one microbatch. */
  readonly peakActivations: readonly number[];
}

/**
 * Checks that each stage meets each microbatch exactly once in each direction; that data exists before it is used or sent; that the
 * n-th send of a channel is its n-th receive; that no rank waits forever even when channels hold nothing; and that no rank holds more
 * activations than declared.
 */
export function checkSchedule(schedule: Schedule): ScheduleReport {
  const peaks = schedule.ranks.map((actions) => peakActivations(actions, schedule.forwardOnly));
  return Object.freeze({
    problems: Object.freeze(findProblems(schedule, peaks)),
    ordered: isOrdered(schedule),
    peakActivations: Object.freeze(peaks),
  });
}

function findProblems(schedule: Schedule, peaks: readonly number[]): ScheduleProblem[] {
  for (const rule of [computationProblems, transferProblems]) {
    const problems = rule(schedule);
    if (problems.length > 0) return problems;
  }
  const deadlock = deadlockProblem(schedule);
  if (deadlock !== undefined) return [deadlock];
  return peaks.flatMap((peak, rank) => {
    const declared = schedule.peakActivations[rank] ?? 0;
    if (peak <= declared) return [];
    const sentence = `holds ${peak} activations at its peak, but declares ${declared}. Declare ${peak}, or run backward passes earlier.`;
    const actions = schedule.ranks[rank] ?? [];
    const action = actions.findIndex((_, index) => peakActivations(actions.slice(0, index + 1), schedule.forwardOnly) > declared);
    return [{ rule: 'memory' as const, rank, action, sentence }];
  });
}

function isOrdered({ ranks, placement }: Schedule): boolean {
  // A stage that is held twice has its gradient in two sums.
  return (
    placement.routes.length === 1
    && ranks.every((actions) => {
      const last: number[] = [];
      return actions.flatMap(computeParts).every(({ kind, chunk, microbatch }) => {
        if (kind !== 'backward' && kind !== 'backwardWeight') return true;
        const isNext = microbatch > (last[chunk] ?? -1);
        last[chunk] = microbatch;
        return isNext;
      });
    })
  );
}
