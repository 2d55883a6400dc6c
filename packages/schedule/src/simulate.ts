/** The clock: how long a schedule takes, and how long each rank idles, when every action takes a known time. */
import { InternalError } from '@megatron-ts/errors';
import type { Action, ExchangeAction, Transfer } from './action.ts';
import { assertSchedule } from './assert-schedule.ts';
import { actionCost, type ScheduleCosts } from './costs.ts';
import { messageKey } from './messages.ts';
import type { Schedule } from './schedule.ts';

/** Costs, and how channels behave. */
export interface SimulationOptions extends ScheduleCosts {
  /** `buffered`: a rank waits for what it receives; `rendezvous`: also until what it sends is taken. `buffered` when left out. */
  readonly channels?: 'buffered' | 'rendezvous' | undefined;
}

/** An action on the clock. */
export interface TimedAction {
  /** What was done. */
  readonly action: Action;
  /** When it began, in the unit of the costs. */
  readonly start: number;
  /** When it was over. */
  readonly end: number;
}

/** What the clock showed for one rank, in the unit of the costs. */
export interface RankTimes {
  /** Time spent computing. */
  readonly busy: number;
  /** makespan - busy. */
  readonly idle: number;
  /** From the start of the first computation to the end of the last. */
  readonly span: number;
  /** Every action of the rank, in order. */
  readonly timeline: readonly TimedAction[];
}

/** What the clock showed, in the unit of the costs. */
export interface SimulatedSchedule {
  /** End of the last action of any rank. */
  readonly makespan: number;
  /** Idle part of all ranks' time, 0 to 1. */
  readonly bubble: number;
  /** What the clock showed for each rank. */
  readonly ranks: readonly RankTimes[];
}

/**
 * Runs a schedule on a clock.
 * @throws ConfigError INVALID_SCHEDULE for a schedule that cannot run.
 */
export function simulate(schedule: Schedule, options: SimulationOptions = {}): SimulatedSchedule {
  const timelines = runClock(schedule, options);
  const makespan = Math.max(0, ...timelines.flat().map(({ end }) => end));
  const ranks = timelines.map((timeline): RankTimes => {
    const computing = timeline.filter(({ action }) => action.kind !== 'exchange');
    const busy = computing.reduce((sum, { start, end }) => sum + end - start, 0);
    return { busy, idle: makespan - busy, span: (computing.at(-1)?.end ?? 0) - (computing[0]?.start ?? 0), timeline };
  });
  const idle = ranks.reduce((sum, rank) => sum + rank.idle, 0);
  return { makespan, bubble: makespan === 0 ? 0 : idle / (makespan * ranks.length), ranks };
}

function runClock(schedule: Schedule, options: SimulationOptions): TimedAction[][] {
  const timelines = schedule.ranks.map((): TimedAction[] => []);
  const posted = new Map<string, number>();
  for (let moved = true; moved; ) {
    moved = false;
    for (const [rank, actions] of schedule.ranks.entries()) {
      const timeline = timelines[rank] as TimedAction[];
      for (let action = actions[timeline.length]; action !== undefined; action = actions[timeline.length]) {
        const start = timeline.at(-1)?.end ?? 0;
        const end = action.kind === 'exchange' ? exchangeEnd(action, { start, posted, options }) : start + actionCost(action, options);
        if (end === undefined) break;
        timeline.push({ action, start, end });
        moved = true;
      }
    }
  }
  if (timelines.some((timeline, rank) => timeline.length < (schedule.ranks[rank]?.length ?? 0))) {
    assertSchedule(schedule);
    throw new InternalError('INVARIANT', `simulate: the proven schedule "${schedule.name}" stopped. This is a bug.`);
  }
  return timelines;
}

/** When an exchange that was reached at `start` is over, or `undefined` as long as a counterpart it waits for is not posted. */
function exchangeEnd(
  { transfers }: ExchangeAction,
  { start, posted, options }: { start: number; posted: Map<string, number>; options: SimulationOptions },
): number | undefined {
  let end = start;
  let isOver = true;
  for (const transfer of transfers) {
    posted.set(`${transfer.direction} ${messageKey(transfer)}`, start);
    if (transfer.direction === 'send' && options.channels !== 'rendezvous') continue;
    const met = posted.get(`${otherDirection(transfer)} ${messageKey(transfer)}`);
    if (met === undefined) isOver = false;
    else end = Math.max(end, Math.max(start, met) + (options.transfer ?? 0), start);
  }
  return isOver ? end : undefined;
}

function otherDirection({ direction }: Transfer): Transfer['direction'] {
  return direction === 'send' ? 'receive' : 'send';
}
