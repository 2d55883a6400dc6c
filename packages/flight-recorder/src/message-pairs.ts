/** Which receive belongs to which send: the first to the first, for each pair of ranks and direction. */
import { isPending, type RecordedMessage, type RecordedOperation } from './flight-record.ts';
import type { MergedGroup, MergedRecords } from './merge-records.ts';

/** One end of a message, as its rank posted it. */
export interface MessageEnd {
  readonly operation: RecordedOperation;
  readonly message: RecordedMessage;
}

/** A message, at least one end of which has been posted. */
export interface MessagePair {
  readonly group: MergedGroup;
  /** World rank that sends. */
  readonly from: number;
  /** World rank that receives. */
  readonly to: number;
  readonly send: MessageEnd | undefined;
  readonly receive: MessageEnd | undefined;
  /** Whether the two are known to belong together: neither record has lost operations. */
  readonly isCertain: boolean;
}

interface Channel {
  readonly from: number;
  readonly to: number;
  readonly sends: MessageEnd[];
  readonly receives: MessageEnd[];
}

/**
 * All messages. Where a record has lost operations its messages can no longer be counted from the first, and only those still pending
 * are paired.
 */
export function messagePairs(merged: MergedRecords): MessagePair[] {
  return merged.groups.flatMap((group) =>
    channelsOf(group).flatMap(({ from, to, sends, receives }) => {
      const isCertain = merged.records.get(from)?.dropped === 0 && merged.records.get(to)?.dropped === 0;
      const [allSends, allReceives] = isCertain ? [sends, receives] : [sends.filter(isPendingEnd), receives.filter(isPendingEnd)];
      return Array.from({ length: Math.max(allSends.length, allReceives.length) }, (_, at) => {
        return { group, from, to, send: allSends[at], receive: allReceives[at], isCertain };
      });
    }),
  );
}

function isPendingEnd({ operation }: MessageEnd): boolean {
  return isPending(operation);
}

function channelsOf(group: MergedGroup): Channel[] {
  const channels = new Map<number, Channel>();
  const channelOf = (fromMember: number, toMember: number): Channel => {
    const key = fromMember * group.ranks.length + toMember;
    const known = channels.get(key);
    if (known !== undefined) return known;
    const made = { from: group.ranks[fromMember] as number, to: group.ranks[toMember] as number, sends: [], receives: [] };
    channels.set(key, made);
    return made;
  };
  for (const [rank, { pointToPoint }] of group.members) {
    const member = group.ranks.indexOf(rank);
    for (const operation of pointToPoint) {
      for (const message of operation.sends) channelOf(member, message.peer).sends.push({ operation, message });
      for (const message of operation.receives) channelOf(message.peer, member).receives.push({ operation, message });
    }
  }
  return [...channels.values()];
}
