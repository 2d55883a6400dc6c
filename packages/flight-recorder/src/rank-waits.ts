/** In which operation each rank stands, and for whom. */
import { type FlightRecord, isPending, isPointToPoint, type RecordedOperation } from './flight-record.ts';
import { type MergedGroup, type MergedRecords } from './merge-records.ts';
import type { MessagePair } from './message-pairs.ts';

/** A rank that waits. */
export interface RankWait {
  /** World rank. */
  readonly rank: number;
  readonly operation: RecordedOperation;
  readonly group: MergedGroup;
  /** World ranks that have not posted their part of it. Empty when all have, and it does not go on all the same. */
  readonly absent: readonly number[];
}

/** The operation a rank stands in: the first unfinished one that it waits for, or else the first unfinished one. */
export function operationInHand({ operations }: FlightRecord): RecordedOperation | undefined {
  return waitedFor(operations) ?? operations.find(isPending);
}

function waitedFor(operations: readonly RecordedOperation[]): RecordedOperation | undefined {
  const waited = operations.filter((operation) => isPending(operation) && operation.waited !== null);
  return waited.sort((a, b) => (a.waited as number) - (b.waited as number))[0];
}

/**
 * The ranks that wait, by rank. A rank counts when it waits for an operation; with `countsPosted` already when one that it has posted is
 * unfinished: a program may await a promise, which the recorder does not see.
 */
export function rankWaits(
  merged: MergedRecords,
  pairs: readonly MessagePair[],
  { countsPosted }: { countsPosted: boolean },
): Map<number, RankWait> {
  const silentPeers = peersThatPostedNothing(pairs);
  const waits = new Map<number, RankWait>();
  for (const [rank, record] of merged.records) {
    const operation = countsPosted ? operationInHand(record) : waitedFor(record.operations);
    const group = operation && merged.groupsOfRank.get(rank)?.get(operation.group);
    if (operation === undefined || group === undefined) continue;
    const absent = isPointToPoint(operation.kind)
      ? (silentPeers.get(operation) ?? [])
      : group.ranks.filter((member) => !hasPosted(group, member, operation.sequence));
    waits.set(rank, { rank, operation, group, absent });
  }
  return waits;
}

/** A member whose record no longer holds any of the group's collectives has not posted one for a long time. */
function hasPosted(group: MergedGroup, member: number, sequence: number): boolean {
  return (group.members.get(member)?.collectives.at(-1)?.sequence ?? 0) >= sequence;
}

/** For each unfinished point-to-point operation the peers that lack the other end of one of its messages. */
function peersThatPostedNothing(pairs: readonly MessagePair[]): Map<RecordedOperation, number[]> {
  const peers = new Map<RecordedOperation, number[]>();
  for (const { from, to, send, receive } of pairs) {
    const end = send === undefined ? receive : receive === undefined ? send : undefined;
    if (end === undefined || !isPending(end.operation)) continue;
    const peer = send === undefined ? from : to;
    const known = peers.get(end.operation) ?? [];
    if (!known.includes(peer)) known.push(peer);
    peers.set(end.operation, known);
  }
  return peers;
}
