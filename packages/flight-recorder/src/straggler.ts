/** The rank that the others of a group kept waiting for, though every operation completed. */
import type { RecordedOperation } from './flight-record.ts';
import { describeGroup, type MergedGroup, type MergedRecords, operationAt } from './merge-records.ts';

/** Fewer operations than this are no habit. */
const leastOperations = 8;
/** Share of the operations to which the slow rank must come last. */
const lastShare = 0.75;
/** Share of the recorded time that the others must lose. */
const lostShare = 0.1;

interface Straggler {
  readonly group: MergedGroup;
  readonly rank: number;
  readonly lostMs: number;
  readonly share: number;
}

/**
 * A remark about the rank that most others waited for most of the time, if there is one. Who comes last waits least: durations are
 * compared, so that clocks of different hosts need not agree.
 */
export function stragglerRemark(merged: MergedRecords): string | undefined {
  const found = merged.groups.map(stragglerOf).filter((straggler) => straggler !== undefined);
  const worst = found.sort((a, b) => b.lostMs - a.lostMs)[0];
  if (worst === undefined) return undefined;
  const { group, rank, lostMs, share } = worst;
  const lost = `the others waited ${(lostMs / 1000).toFixed(1)} s for it, ${Math.round(100 * share)} % of the time`;
  return `rank ${rank} is slower than the others of ${describeGroup(group)}: ${lost} that these records cover.`;
}

function stragglerOf(group: MergedGroup): Straggler | undefined {
  const lists = [...group.members].map(([rank, { collectives }]) => ({ rank, collectives }));
  const first = Math.max(...lists.map(({ collectives }) => collectives[0]?.sequence ?? Infinity));
  const last = Math.min(...lists.map(({ collectives }) => collectives.at(-1)?.sequence ?? 0));
  const operations = last - first + 1;
  if (lists.length < 2 || lists.length < group.ranks.length || !(operations >= leastOperations)) return undefined;
  const timesLast = lists.map(() => 0);
  const lost = lists.map(() => 0);
  for (let sequence = first; sequence <= last; sequence++) {
    const waits = lists.map(({ collectives }) => durationMs(operationAt(collectives, sequence)));
    const least = Math.min(...waits);
    const slowest = waits.indexOf(least);
    timesLast[slowest] = (timesLast[slowest] as number) + 1;
    lost[slowest] = (lost[slowest] as number) + median(waits.filter((_, at) => at !== slowest)) - least;
  }
  const slowest = timesLast.indexOf(Math.max(...timesLast));
  const { rank, collectives } = lists[slowest] as (typeof lists)[number];
  const span = endOf(operationAt(collectives, last)) - (operationAt(collectives, first)?.postedMs ?? 0);
  const lostMs = lost[slowest] as number;
  if ((timesLast[slowest] as number) < lastShare * operations || !(lostMs >= lostShare * span && lostMs > 0)) return undefined;
  return { group, rank, lostMs, share: lostMs / span };
}

function endOf(operation: RecordedOperation | undefined): number {
  return operation?.endedMs ?? operation?.postedMs ?? 0;
}

function durationMs(operation: RecordedOperation | undefined): number {
  return endOf(operation) - (operation?.postedMs ?? 0);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}
