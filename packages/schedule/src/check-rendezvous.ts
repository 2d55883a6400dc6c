/**
 * The absence of deadlock on channels that hold nothing: a transfer is over when both its ends are posted, an exchange when all its
 * transfers are.
 */
import { type Action, describeAction, describeTransfer, type Transfer } from './action.ts';
import { standingTransfers } from './check-transfers.ts';
import { messageKey } from './messages.ts';
import type { Schedule } from './schedule.ts';
import type { ScheduleProblem } from './schedule-problem.ts';
import { type Wait, waitChain } from './wait-chain.ts';

/**
 * Runs the lists with rendezvous channels; when nothing moves any more, tells who waits for whom. Every transfer must have its
 * counterpart.
 */
export function deadlockProblem(schedule: Schedule): ScheduleProblem | undefined {
  const postedAt = new Map(standingTransfers(schedule).map(({ transfer, action }) => [endKey(transfer), action]));
  const at = schedule.ranks.map(() => 0);
  const unmet = (action: Action): Transfer | undefined => {
    if (action.kind !== 'exchange') return undefined;
    return action.transfers.find((transfer) => (postedAt.get(otherEndKey(transfer)) ?? Infinity) > (at[transfer.peer] ?? 0));
  };
  for (let moved = true; moved; ) {
    moved = false;
    for (const [rank, actions] of schedule.ranks.entries()) {
      let index = at[rank] as number;
      for (let action = actions[index]; action !== undefined && unmet(action) === undefined; action = actions[index]) {
        index++;
        moved = true;
        // A peer may be waiting for this rank to reach its next exchange.
        at[rank] = index;
      }
    }
  }
  const waits = new Map<number, Wait>();
  for (const [rank, actions] of schedule.ranks.entries()) {
    const action = actions[at[rank] as number];
    const transfer = action === undefined ? undefined : unmet(action);
    if (action === undefined || transfer === undefined) continue;
    waits.set(rank, { action: at[rank] as number, doing: waitingWords(action, transfer), peer: transfer.peer });
  }
  const chain = waitChain(waits);
  if (chain === undefined) return undefined;
  const sentence = `deadlock: ${chain.words}. Post sends and receives that wait for each other as one exchange.`;
  return { rule: 'deadlock', rank: chain.rank, action: chain.action, sentence };
}

function waitingWords(action: Action, transfer: Transfer): string {
  const isOne = action.kind === 'exchange' && action.transfers.length === 1;
  return isOne ? describeTransfer(transfer) : `${describeTransfer(transfer)}, part of ${describeAction(action)}`;
}

function endKey(transfer: Transfer): string {
  return `${transfer.direction} ${messageKey(transfer)}`;
}

function otherEndKey(transfer: Transfer): string {
  return `${transfer.direction === 'send' ? 'receive' : 'send'} ${messageKey(transfer)}`;
}
