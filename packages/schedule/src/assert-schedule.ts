import { ConfigError } from '@megatron-ts/errors';
import { checkSchedule } from './check-schedule.ts';
import type { Schedule } from './schedule.ts';
import type { ScheduleProblem } from './schedule-problem.ts';

/**
 * Checks a schedule and refuses one that cannot run.
 * @throws ConfigError INVALID_SCHEDULE with the first broken rule: its rank, its action, and what waits for what.
 */
export function assertSchedule(schedule: Schedule): void {
  assertProven(schedule, checkSchedule(schedule).problems);
}

/** Turns the first of these problems into the error of `assertSchedule`. */
export function assertProven({ name }: Schedule, problems: readonly ScheduleProblem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const { rank, action, sentence } = first;
  const others = problems.length > 1 ? ` (${problems.length - 1} more like it.)` : '';
  throw new ConfigError('INVALID_SCHEDULE', `schedule "${name}": rank ${rank} action ${action}: ${sentence}${others}`, {
    fields: { schedule: name, rank, action, problems },
  });
}
