/**
 * Adds communication to compute lists. The gap before action g of a rank is the window of time (start of g - 1, start of g]. A message
 * is sent in the gap behind the computation that makes it, and received in the latest gap, no later than its use, whose window meets
 * the sender's window; everything in one gap is one exchange. In the steady state of 1F1B this fuses "send forward" with "receive
 * backward".
 *
 * No deadlock, even with rendezvous channels: an exchange in gap g of one rank waits only for another rank to reach a gap h with
 * meeting windows, that is, to finish action h - 1, which starts before g does. So each wait is for something that starts strictly
 * earlier, and no circle of waits can close.
 */
import { type Action, computeParts, type Transfer } from './action.ts';
import { computeStarts } from './compute-clock.ts';
import { isLocal, type Message, messageKey, messageMade, messageNeeded, transferOf } from './messages.ts';
import type { Schedule } from './schedule.ts';

/** A message and the gaps in which it is sent and received. */
interface Posting {
  readonly message: Message;
  readonly sendGap: number;
  readonly receiveGap: number;
}

/**
 * The same schedule with an exchange in every gap that needs one.
 * @param schedule compute lists without exchanges, each message made and used exactly once.
 * @throws ConfigError INVALID_SCHEDULE when the lists wait for each other in a circle.
 */
export function insertExchanges(schedule: Schedule): Schedule {
  const starts = computeStarts(schedule);
  const postings = postMessages(schedule, starts);
  const ranks = schedule.ranks.map((actions, rank) => withExchanges(actions, transfersByGap(postings, rank, actions.length)));
  return { ...schedule, ranks };
}

function postMessages(schedule: Schedule, starts: readonly (readonly number[])[]): Posting[] {
  const uses = new Map<string, number>();
  for (const actions of schedule.ranks) {
    for (const [index, action] of actions.entries()) {
      for (const part of computeParts(action)) {
        const needed = messageNeeded(part, schedule);
        if (needed !== undefined) uses.set(messageKey(needed), index);
      }
    }
  }
  const postings: Posting[] = [];
  for (const actions of schedule.ranks) {
    for (const [index, action] of actions.entries()) {
      for (const part of computeParts(action)) {
        const message = messageMade(part, schedule);
        const use = message === undefined ? undefined : uses.get(messageKey(message));
        if (message === undefined || use === undefined || isLocal(message)) continue;
        postings.push({ message, sendGap: index + 1, receiveGap: latestGap(starts, message, { sendGap: index + 1, use }) });
      }
    }
  }
  return postings;
}

/** The latest gap of the receiver, up to the use, that it reaches before the sender's next action starts. */
function latestGap(
  starts: readonly (readonly number[])[],
  { sender, receiver }: Message,
  { sendGap, use }: { sendGap: number; use: number },
): number {
  const senderLeaves = starts[sender.rank]?.[sendGap] ?? Infinity;
  const receiverStarts = starts[receiver.rank] ?? [];
  let gap = use;
  while (gap > 0 && (receiverStarts[gap - 1] ?? 0) >= senderLeaves) gap--;
  return gap;
}

/**
 * What a rank transfers in each gap: sends, then receives. A channel is first in, first out: later gaps send what is received no earlier,
 * and an overlapped pair sends first what is received first.
 */
function transfersByGap(postings: readonly Posting[], rank: number, numActions: number): readonly Transfer[][] {
  const gaps = Array.from({ length: numActions + 1 }, (): Transfer[] => []);
  const sent = postings.filter(({ message }) => message.sender.rank === rank).toSorted((a, b) => a.receiveGap - b.receiveGap);
  const received = postings.filter(({ message }) => message.receiver.rank === rank);
  for (const { message, sendGap } of sent) gaps[sendGap]?.push(transferOf(message, 'send'));
  for (const { message, receiveGap } of received) gaps[receiveGap]?.push(transferOf(message, 'receive'));
  return gaps;
}

function withExchanges(actions: readonly Action[], gaps: readonly Transfer[][]): Action[] {
  return gaps.flatMap((transfers, gap) => {
    const action = actions[gap];
    const exchange: Action[] = transfers.length === 0 ? [] : [{ kind: 'exchange', transfers }];
    return action === undefined ? exchange : [...exchange, action];
  });
}
