/**
 * When each computation starts if a forward pass takes 1, a backward pass 2, its halves 1, messages take no time and nobody waits to
 * send: the clock by which `insertExchanges` orders messages. Positive times make its order strict.
 */
import { ConfigError } from '@megatron-ts/errors';
import { type Action, computeParts, describeAction } from './action.ts';
import { actionCost } from './costs.ts';
import { type Message, messageKey, messageMade, messageNeeded } from './messages.ts';
import type { Schedule } from './schedule.ts';
import { type Wait, waitChain } from './wait-chain.ts';

/**
 * Start times of the compute lists, `[rank][index]`.
 * @throws ConfigError INVALID_SCHEDULE when the lists wait for each other in a circle; names rank, index and who waits for whom.
 */
export function computeStarts(schedule: Schedule): readonly (readonly number[])[] {
  const starts = schedule.ranks.map((): number[] => []);
  const free = schedule.ranks.map(() => 0);
  const made = new Map<string, number>();
  for (let moved = true; moved; ) {
    moved = false;
    for (const [rank, actions] of schedule.ranks.entries()) {
      const own = starts[rank] as number[];
      for (let action = actions[own.length]; action !== undefined; action = actions[own.length]) {
        if (missing(action, schedule, made) !== undefined) break;
        const needed = needs(action, schedule).map((message) => made.get(messageKey(message)) ?? 0);
        const start = Math.max(free[rank] as number, ...needed);
        own.push(start);
        free[rank] = start + actionCost(action, {});
        for (const message of makes(action, schedule)) made.set(messageKey(message), free[rank]);
        moved = true;
      }
    }
  }
  refuseStuck(schedule, starts, made);
  return starts;
}

function needs(action: Action, schedule: Schedule): Message[] {
  return computeParts(action).flatMap((part) => messageNeeded(part, schedule) ?? []);
}

function makes(action: Action, schedule: Schedule): Message[] {
  return computeParts(action).flatMap((part) => messageMade(part, schedule) ?? []);
}

function missing(action: Action, schedule: Schedule, made: ReadonlyMap<string, number>): Message | undefined {
  return needs(action, schedule).find((message) => !made.has(messageKey(message)));
}

function refuseStuck(schedule: Schedule, starts: readonly (readonly number[])[], made: ReadonlyMap<string, number>): void {
  const waits = new Map<number, Wait>();
  for (const [rank, actions] of schedule.ranks.entries()) {
    const index = (starts[rank] as readonly number[]).length;
    const action = actions[index];
    const message = action === undefined ? undefined : missing(action, schedule, made);
    if (action !== undefined && message !== undefined)
      waits.set(rank, { action: index, doing: describeAction(action), peer: message.sender.rank });
  }
  const chain = waitChain(waits);
  if (chain === undefined) return;
  const sentence =
    `schedule "${schedule.name}": the computations wait for each other: ${chain.words}. ` + 'Put what the others wait for earlier.';
  throw new ConfigError('INVALID_SCHEDULE', sentence, { fields: { schedule: schedule.name, rank: chain.rank, action: chain.action } });
}
