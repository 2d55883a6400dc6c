/** One line per rank: what it did last and what it is in. */
import type { OperationState } from './flight-record.ts';
import type { MergedRecords } from './merge-records.ts';
import { describeOperation } from './operation-text.ts';
import { operationInHand } from './rank-waits.ts';

/** Where one rank stands. */
export interface DiagnosisRow {
  /** World rank. */
  readonly rank: number;
  /** Null without a record. */
  readonly host: string | null;
  /** Group of the operation in hand, or else of the last completed one. */
  readonly group: string | null;
  /** The last operation it completed, in words. */
  readonly lastCompleted: string | null;
  /** The first operation it waits for, or has posted, that is not complete. */
  readonly inHand: string | null;
  /** State of the operation in hand; `idle` without one. */
  readonly state: OperationState | 'idle' | 'no record';
  /** Milliseconds from posting the operation in hand, or ending the last, to the writing of the record. */
  readonly ageMs: number | null;
  /** Whether the diagnosis names this rank. */
  readonly isOutlier: boolean;
}

/** A row for each rank of the world, in the order of ranks. */
export function diagnosisRows(merged: MergedRecords, culprits: readonly number[]): DiagnosisRow[] {
  const outliers = new Set(culprits);
  return Array.from({ length: merged.worldSize }, (_, rank) => rowOf(merged, rank, outliers.has(rank)));
}

function rowOf(merged: MergedRecords, rank: number, isOutlier: boolean): DiagnosisRow {
  const record = merged.records.get(rank);
  if (record === undefined) {
    return { rank, host: null, group: null, lastCompleted: null, inHand: null, state: 'no record', ageMs: null, isOutlier };
  }
  const inHand = operationInHand(record);
  const last = record.operations.filter(({ state }) => state === 'completed').at(-1);
  const shown = inHand ?? last;
  const since = inHand?.postedMs ?? last?.endedMs ?? null;
  return {
    rank,
    host: record.host,
    group: shown === undefined ? null : (merged.groupsOfRank.get(rank)?.get(shown.group)?.name ?? null),
    lastCompleted: last === undefined ? null : describeOperation(last),
    inHand: inHand === undefined ? null : describeOperation(inHand),
    state: inHand?.state ?? 'idle',
    ageMs: since === null ? null : record.writtenMs - since,
    isOutlier,
  };
}
