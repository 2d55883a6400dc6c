/**
 * The rules of communicating: data exists before it is used or sent, every send has one receive, and both ends of a channel agree on
 * the order.
 */
import { type Action, computeParts, describeAction, describeTransfer, type Transfer } from './action.ts';
import { isLocal, type Message, messageKey, messageMade, messageNeeded, transferOf } from './messages.ts';
import type { Schedule } from './schedule.ts';
import type { ScheduleProblem } from './schedule-problem.ts';

/** A transfer where it stands. */
export interface StandingTransfer {
  readonly transfer: Transfer;
  readonly rank: number;
  readonly action: number;
}

/** Every broken rule of communicating. The computations must be right. */
export function transferProblems(schedule: Schedule): ScheduleProblem[] {
  const messages = allMessages(schedule);
  const problems = schedule.ranks.flatMap((actions, rank) => rankProblems(schedule, { actions, rank, messages }));
  return problems.length > 0 ? problems : channelProblems(schedule);
}

/** Every transfer of a schedule, by rank and then in order. */
export function standingTransfers({ ranks }: Schedule): StandingTransfer[] {
  return ranks.flatMap((actions, rank) =>
    actions.flatMap((action, index) =>
      action.kind === 'exchange' ? action.transfers.map((transfer) => ({ transfer, rank, action: index })) : [],
    ),
  );
}

function allMessages(schedule: Schedule): Map<string, Message> {
  const made = schedule.ranks
    .flat()
    .flatMap(computeParts)
    .flatMap((part) => messageMade(part, schedule) ?? []);
  return new Map(made.map((message) => [messageKey(message), message]));
}

/** Walks one rank's list, keeping what it has. */
function rankProblems(
  schedule: Schedule,
  { actions, rank, messages }: { actions: readonly Action[]; rank: number; messages: ReadonlyMap<string, Message> },
): ScheduleProblem[] {
  const problems: ScheduleProblem[] = [];
  const has = new Set<string>();
  const unsent = new Map<string, Message>();
  const moved = new Set<string>();
  for (const [index, action] of actions.entries()) {
    for (const transfer of action.kind === 'exchange' ? action.transfers : []) {
      const key = messageKey(transfer);
      const sentence =
        strayTransfer(transfer, { rank, message: messages.get(key) })
        ?? (moved.has(key) ? `${describeTransfer(transfer)} stands here a second time. Take one away.` : undefined)
        ?? (transfer.direction === 'send' && !unsent.has(key)
          ? `${describeTransfer(transfer)} comes before it is computed. Put it behind.`
          : undefined);
      if (sentence !== undefined) problems.push({ rule: 'data', rank, action: index, sentence });
      moved.add(key);
      unsent.delete(key);
      if (transfer.direction === 'receive') has.add(key);
    }
    for (const part of computeParts(action)) {
      const needed = messageNeeded(part, schedule);
      if (needed === undefined || has.has(messageKey(needed))) continue;
      const comes = isLocal(needed) ? `computed on stage ${needed.fromStage} of this rank` : `received from rank ${needed.sender.rank}`;
      const sentence = `${describeAction(part)} comes before its ${needed.payload} is ${comes}. Put it behind.`;
      problems.push({ rule: 'data', rank, action: index, sentence });
    }
    for (const message of computeParts(action).flatMap((part) => messageMade(part, schedule) ?? [])) {
      if (isLocal(message)) has.add(messageKey(message));
      else unsent.set(messageKey(message), message);
    }
  }
  for (const message of unsent.values()) {
    const sentence = `${describeTransfer(transferOf(message, 'send'))} is missing. Send it once it is computed.`;
    problems.push({ rule: 'pairing', rank, action: actions.length, sentence });
  }
  return problems;
}

/** Why a transfer is not an end of any message, or `undefined` when it is one. */
function strayTransfer(transfer: Transfer, { rank, message }: { rank: number; message: Message | undefined }): string | undefined {
  if (message === undefined) return `${describeTransfer(transfer)} moves what no stage makes for another. Take it away.`;
  const here = transfer.direction === 'send' ? message.sender : message.receiver;
  const right = transferOf(message, transfer.direction);
  const isSame = right.peer === transfer.peer && right.chunk === transfer.chunk && right.toStage === transfer.toStage;
  if (isSame && here.rank === rank && !isLocal(message)) return undefined;
  const { sender, receiver } = message;
  return (
    `${describeTransfer(transfer)} does not fit the placement: the ${message.payload} goes from chunk ${sender.chunk} `
    + `of rank ${sender.rank} to chunk ${receiver.chunk} of rank ${receiver.rank}.`
  );
}

/** First in, first out: the n-th send of a channel must be its n-th receive. */
function channelProblems(schedule: Schedule): ScheduleProblem[] {
  const channels = new Map<string, { sends: StandingTransfer[]; receives: StandingTransfer[] }>();
  for (const standing of standingTransfers(schedule)) {
    const { rank } = standing;
    const { direction, peer } = standing.transfer;
    const name = direction === 'send' ? `${rank} ${peer}` : `${peer} ${rank}`;
    const channel = channels.get(name) ?? { sends: [], receives: [] };
    channel[direction === 'send' ? 'sends' : 'receives'].push(standing);
    channels.set(name, channel);
  }
  return [...channels.values()].flatMap(({ sends, receives }) => {
    const wrong = receives.find(
      ({ transfer }, index) => sends[index] === undefined || messageKey(transfer) !== messageKey(sends[index].transfer),
    );
    if (wrong === undefined) return [];
    const sent = sends[receives.indexOf(wrong)];
    const instead = sent === undefined ? 'nothing' : `${sent.transfer.payload} of microbatch ${sent.transfer.microbatch}`;
    const meets = `${describeTransfer(wrong.transfer)} meets ${instead}, which that rank sends at this place.`;
    const sentence = `${meets} Receive in the order of sending.`;
    return [{ rule: 'pairing' as const, rank: wrong.rank, action: wrong.action, sentence }];
  });
}
