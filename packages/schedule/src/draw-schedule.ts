import { computeParts } from './action.ts';
import { stepToText } from './compute-notation.ts';
import type { Schedule } from './schedule.ts';
import { type SimulationOptions, simulate, type TimedAction } from './simulate.ts';

/**
 * A schedule as text: a line per rank, time to the right, each computation as long as it takes. `F0` is the forward pass of microbatch
 * 0, `B0` its backward pass, `I0` and `W0` the halves of one; a letter behind the number is the chunk; dots are idle time.
 */
export function drawSchedule(schedule: Schedule, options: SimulationOptions = {}): string {
  const { makespan, bubble, ranks } = simulate(schedule, options);
  const computing = ranks.map(({ timeline }) => timeline.filter(({ action, start, end }) => action.kind !== 'exchange' && end > start));
  const unit = Math.min(...computing.flat().map(({ start, end }) => end - start));
  const width = Math.max(...computing.flat().map((timed) => label(timed, schedule).length)) + 1;
  const lines = computing.map((timeline, rank) => `rank ${rank} ${drawRank(timeline, { schedule, unit, width, makespan })}`.trimEnd());
  const sizes = `${count(schedule.numStages, 'stage')}, ${count(schedule.numMicrobatches, 'microbatch')}`;
  const result = `makespan ${round(makespan)}, bubble ${round(100 * bubble)} %`;
  return [`${schedule.name}: ${sizes}, ${result}`, ...lines].join('\n');
}

interface Drawing {
  readonly schedule: Schedule;
  /** Time of one cell. */
  readonly unit: number;
  /** Characters of one cell. */
  readonly width: number;
  readonly makespan: number;
}

function drawRank(timeline: readonly TimedAction[], { schedule, unit, width, makespan }: Drawing): string {
  let line = '';
  let cell = 0;
  const idleUntil = (end: number): void => {
    for (; cell < end; cell++) line += '.'.padEnd(width);
  };
  for (const timed of timeline) {
    idleUntil(Math.round(timed.start / unit));
    const cells = Math.max(1, Math.round((timed.end - timed.start) / unit));
    line += `${label(timed, schedule).padEnd(cells * width - 1, cells > 1 ? '-' : ' ')} `;
    cell += cells;
  }
  idleUntil(Math.round(makespan / unit));
  return line;
}

function label({ action }: TimedAction, { numChunks }: Schedule): string {
  const words = computeParts(action).map((part) => stepToText(part, numChunks));
  return words.length > 1 ? `[${words.join('+')}]` : words.join('');
}

const round = (value: number): string => String(Number(value.toFixed(1)));

function count(value: number, noun: string): string {
  return `${value} ${noun}${value === 1 ? '' : noun.endsWith('h') ? 'es' : 's'}`;
}
