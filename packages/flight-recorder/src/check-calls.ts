/** Whether the ranks of every group call the same, and every message has its other end. */
import { describeGroup } from './merge-records.ts';
import { ranksText, verb } from './operation-text.ts';
import type { Channel, PackedGroup, WorldPrograms } from './world-programs.ts';

/** For each group the first collective that not all members call alike. */
export function collectiveProblems(programs: WorldPrograms): string[] {
  return programs.groups.map((group) => groupProblem(programs, group)).filter((problem) => problem !== undefined);
}

function groupProblem(programs: WorldPrograms, group: PackedGroup): string | undefined {
  const { collectives } = group;
  const longest = collectives.reduce((most, { length }) => Math.max(most, length), 0);
  for (let at = 0; at < longest; at++) {
    // The number of the call, or -1 for ranks that call nothing more; for each who calls it.
    const parties = new Map<number, number[]>();
    for (const [member, operations] of collectives.entries()) {
      const call = at < operations.length ? programs.signatureOf(operations.at(at)) : -1;
      const members = parties.get(call);
      if (members === undefined) parties.set(call, [member]);
      else members.push(member);
    }
    if (parties.size > 1) return disputeText(programs, group, { at, parties: [...parties.values()] });
  }
  return undefined;
}

function disputeText(programs: WorldPrograms, group: PackedGroup, { at, parties }: { at: number; parties: number[][] }): string {
  const [norm = [], ...others] = parties.sort((a, b) => b.length - a.length);
  const called = (members: readonly number[]) => {
    const ranks = members.map((member) => group.ranks[member] as number);
    const operations = group.collectives[members[0] as number];
    const isOver = operations === undefined || at >= operations.length;
    return `${ranksText(ranks)} ${verb(ranks, 'calls', 'call')} ${isOver ? 'nothing more' : programs.describe(operations.at(at))}`;
  };
  return `${others.map(called).join(' and ')} on ${describeGroup(group)} where ${called(norm)}. Make all members call the same in the same order.`;
}

/** Messages without another end, and those whose ends differ: for each pair and direction the first. */
export function messageProblems(programs: WorldPrograms): string[] {
  const problems: string[] = [];
  for (const channel of programs.channels) {
    const problem = channelProblem(programs, channel);
    if (problem !== undefined) problems.push(problem);
  }
  return problems;
}

function channelProblem(programs: WorldPrograms, { group, from, to, sends, receives }: Channel): string | undefined {
  const text = (message: number) => `${programs.describeMessage(message)} in ${programs.describe(programs.operationOfMessage.at(message))}`;
  const where = `on ${describeGroup(group)}`;
  const both = Math.min(sends.length, receives.length);
  for (let at = 0; at < both; at++) {
    const [send, receive] = [sends.at(at), receives.at(at)];
    if (programs.shapeOfMessage.at(send) === programs.shapeOfMessage.at(receive)) continue;
    const differ = `rank ${from} sends ${text(send)} to rank ${to} ${where}, which expects ${text(receive)}`;
    return `${differ}. Make the two agree on dtype, size and order.`;
  }
  if (sends.length > both)
    return `rank ${from} sends ${text(sends.at(both))} to rank ${to} ${where}, which never receives it. Post the receive.`;
  if (receives.length > both) {
    return `rank ${to} expects ${text(receives.at(both))} from rank ${from} ${where}, which never sends it. Post the send.`;
  }
  return undefined;
}
