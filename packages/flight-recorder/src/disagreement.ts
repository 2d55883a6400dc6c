/** Ranks of a group that called different operations where all must call the same. */
import type { RecordedOperation } from './flight-record.ts';
import type { Finding } from './finding.ts';
import { describeGroup, type MergedGroup, type MergedRecords, operationAt } from './merge-records.ts';
import type { MessagePair } from './message-pairs.ts';
import { describeMessage, describeOperation, ranksText, sameSignature, verb } from './operation-text.ts';

/** Ranks that called the same. */
interface Party {
  readonly operation: RecordedOperation;
  readonly ranks: number[];
}

/**
 * The earliest collective that not all members called alike. The smaller parties are to blame; where none is larger, those that the
 * recorded failures blame, or else all.
 */
export function disagreement(merged: MergedRecords): Finding | undefined {
  const disputes = merged.groups.flatMap((group) => {
    const parties = firstDispute(group);
    return parties === undefined ? [] : [{ group, parties, since: Math.min(...parties.map(({ operation }) => operation.postedMs)) }];
  });
  const earliest = disputes.sort((a, b) => a.since - b.since)[0];
  if (earliest === undefined) return undefined;
  const { group, parties } = earliest;
  const norm = majority(parties, blamedRanks(merged));
  const odd = parties.filter((party) => party !== (norm ?? parties[0]));
  const culprits = (norm === undefined ? parties : odd).flatMap(({ ranks }) => ranks).sort((a, b) => a - b);
  const namesSum = new Set(parties.map(({ operation }) => operation.op)).size > 1;
  const called = ({ ranks, operation }: Party) => `${ranksText(ranks)} called ${describeOperation(operation, { namesSum })}`;
  const others = called(norm ?? (parties[0] as Party));
  const sentence = `${odd.map(called).join(' and ')} on ${describeGroup(group)} where ${others}: all must call the same in the same order.`;
  return { kind: 'disagreement', sentence, culprits };
}

function firstDispute({ members }: MergedGroup): Party[] | undefined {
  const lists = [...members].map(([rank, { collectives }]) => ({ rank, collectives })).filter(({ collectives }) => collectives.length > 0);
  const first = lists.reduce((least, { collectives }) => Math.min(least, collectives[0]?.sequence ?? least), Infinity);
  const last = lists.reduce((most, { collectives }) => Math.max(most, collectives.at(-1)?.sequence ?? 0), 0);
  for (let sequence = first; sequence <= last; sequence++) {
    const parties: Party[] = [];
    for (const { rank, collectives } of lists) {
      const operation = operationAt(collectives, sequence);
      if (operation === undefined) continue;
      const party = parties.find((party) => sameSignature(party.operation, operation));
      if (party === undefined) parties.push({ operation, ranks: [rank] });
      else party.ranks.push(rank);
    }
    if (parties.length > 1) return parties;
  }
  return undefined;
}

/** The party which the others are measured against; none where parties are of equal size and no failure blames one of them. */
function majority(parties: readonly Party[], blamed: ReadonlySet<number>): Party | undefined {
  const most = Math.max(...parties.map(({ ranks }) => ranks.length));
  const largest = parties.filter(({ ranks }) => ranks.length === most);
  if (largest.length === 1) return largest[0];
  const unblamed = largest.filter(({ ranks }) => !ranks.some((rank) => blamed.has(rank)));
  return unblamed.length === 1 ? unblamed[0] : undefined;
}

function blamedRanks(merged: MergedRecords): Set<number> {
  return new Set([...merged.records.values()].flatMap(({ failure }) => failure?.culprits ?? []));
}

/** The earliest message whose ends differ in dtype or size. Both ranks are to blame: nothing tells which is right. */
export function messageDisagreement(pairs: readonly MessagePair[]): Finding | undefined {
  const found = pairs.flatMap(({ group, from, to, send, receive, isCertain }) => {
    if (!isCertain || send === undefined || receive === undefined) return [];
    if (send.message.dtype === receive.message.dtype && send.message.count === receive.message.count) return [];
    return [{ group, from, to, send, receive }];
  });
  const earliest = found.sort((a, b) => a.receive.operation.postedMs - b.receive.operation.postedMs)[0];
  if (earliest === undefined) return undefined;
  const { group, from, to, send, receive } = earliest;
  const culprits = [...new Set([from, to])].sort((a, b) => a - b);
  const sends = `rank ${from} sends ${describeMessage(send.message)} to rank ${to} in ${describeOperation(send.operation)}`;
  const expects = `rank ${to} expects ${describeMessage(receive.message)} in ${describeOperation(receive.operation)}`;
  const advice = `make ${verb(culprits, 'it', 'the two')} agree on dtype, size and order.`;
  return { kind: 'disagreement', sentence: `${sends} on ${describeGroup(group)} where ${expects}: ${advice}`, culprits };
}
