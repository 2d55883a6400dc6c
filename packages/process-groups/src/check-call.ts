import { ConfigError, ProcessGroupError } from '@megatron-ts/errors';
import type { CollectiveOptions } from './collective-options.ts';
import type { ProcessGroup } from './process-group.ts';

/**
 * Refuses what no operation can do, before anything moves.
 * @throws ProcessGroupError NOT_A_MEMBER when this rank is not in the group
 * @throws ConfigError INVALID_OPTION when the deadline is no number of milliseconds
 */
export function checkCall(op: string, { group, timeoutMs }: CollectiveOptions): void {
  if (group.rank < 0) {
    const self = group.worldRank === undefined ? 'another rank' : `rank ${group.worldRank}`;
    throw new ProcessGroupError(
      'NOT_A_MEMBER',
      `${op} on ${described(group)}: this process is ${self}, not one of them. Call it on the group's ranks only.`,
      { fields: { group: group.name, ranks: group.ranks, rank: group.worldRank } },
    );
  }
  if (timeoutMs !== undefined && !(timeoutMs > 0))
    throw new ConfigError(
      'INVALID_OPTION',
      `${op} on group ${group.name}: timeoutMs ${timeoutMs} is not a positive number of milliseconds. Give one, or leave it out.`,
    );
}

/** Refuses a root that is no rank of the group. @throws ProcessGroupError NOT_A_MEMBER */
export function requireMember(op: string, group: ProcessGroup, rank: number): void {
  if (!isRankOf(group, rank)) throw notAMember(op, group, `there is no rank ${rank}. Use ${ranksOf(group)} of the group.`);
}

/** Refuses a peer that is no other rank of the group. @throws ProcessGroupError NOT_A_MEMBER */
export function requirePeer(op: string, group: ProcessGroup, peer: number): void {
  if (isRankOf(group, peer) && peer !== group.rank) return;
  const advice = group.size === 1 ? 'A group of one has nobody else' : `Use ${ranksOf(group)} of the group, this rank's own excepted`;
  throw notAMember(op, group, `rank ${peer} is not another member. ${advice}.`);
}

function notAMember(op: string, group: ProcessGroup, sentence: string): ProcessGroupError {
  return new ProcessGroupError('NOT_A_MEMBER', `${op} on ${described(group)}: ${sentence}`, {
    fields: { group: group.name, ranks: group.ranks },
  });
}

function described({ name, ranks }: ProcessGroup): string {
  return `group ${name} [${ranks.join(', ')}]`;
}

function isRankOf(group: ProcessGroup, rank: number): boolean {
  return Number.isInteger(rank) && rank >= 0 && rank < group.size;
}

function ranksOf({ size }: ProcessGroup): string {
  return size === 1 ? 'rank 0' : `ranks 0 to ${size - 1}`;
}
