/** Ranks that others wait for: lost, behind, or waiting themselves in a circle. */
import { isPointToPoint } from './flight-record.ts';
import type { Finding } from './finding.ts';
import { describeGroup, type MergedRecords } from './merge-records.ts';
import { describeOperation, ranksText, verb } from './operation-text.ts';
import { operationInHand, type RankWait } from './rank-waits.ts';

type Waits = ReadonlyMap<number, RankWait>;

/** Waits that only these ranks could end, all in the same operation. */
interface Blockade {
  readonly waits: readonly RankWait[];
  readonly causes: readonly number[];
}

/** Ranks without a record which others wait for: killed or gone, most likely. */
export function lostRanks(merged: MergedRecords, waits: Waits): Finding | undefined {
  const blockade = mainBlockade(waits, (rank) => !merged.records.has(rank));
  if (blockade === undefined) return undefined;
  const { causes } = blockade;
  const left = `${ranksText(causes)} left no complete record and ${verb(causes, 'is', 'are')} missing from ${blockedText(waits, blockade)}`;
  const why =
    causes.length === 1
      ? 'it was killed or ended early, or its file lies elsewhere'
      : 'they were killed or ended early, or their files lie elsewhere';
  return { kind: 'lost', sentence: `${left}: ${why}. Look at the log of ${ranksText(causes)}.`, culprits: causes };
}

/** Ranks which others wait for and which wait for nothing themselves. */
export function lateRanks(merged: MergedRecords, waits: Waits): Finding | undefined {
  const blockade = mainBlockade(waits, (rank) => merged.records.has(rank) && !waits.has(rank));
  if (blockade === undefined) return undefined;
  const { causes } = blockade;
  const [first = 0] = causes;
  const who = causes.length === 1 ? 'it' : `rank ${first}`;
  const what = `${ranksText(causes)} ${verb(causes, 'has', 'have')} not joined ${blockedText(waits, blockade)}`;
  return {
    kind: 'behind',
    sentence: `${what}: ${who} ${whereabouts(merged, first)}. Find what keeps ${ranksText(causes)}.`,
    culprits: causes,
  };
}

/** Ranks that wait for each other in a circle; the shortest circle. */
export function waitingCircle(waits: Waits): Finding | undefined {
  const circles = [...waits.keys()].map((rank) => shortestCircle(waits, rank)).filter((circle) => circle !== undefined);
  const circle = circles.sort((a, b) => a.length - b.length)[0];
  if (circle === undefined) return undefined;
  const links = circle.map((rank, at) => {
    const { operation, group } = waits.get(rank) as RankWait;
    const where = `waits in ${describeOperation(operation)} on group ${group.name} for rank ${circle[(at + 1) % circle.length]}`;
    return at === 0 ? `rank ${rank} ${where}` : `which ${where}`;
  });
  const sentence = `${links.join(', ')}: the waits form a circle. Make these ranks call their operations in one order.`;
  return { kind: 'circle', sentence, culprits: [...circle].sort((a, b) => a - b) };
}

/** From `start` over those it waits for back to it, on the shortest way that visits no rank below it. */
function shortestCircle(waits: Waits, start: number): number[] | undefined {
  const cameFrom = new Map<number, number>();
  const queue = [start];
  for (const rank of queue) {
    for (const next of waits.get(rank)?.absent ?? []) {
      if (next === start) return pathTo(rank, cameFrom);
      if (next < start || cameFrom.has(next)) continue;
      cameFrom.set(next, rank);
      queue.push(next);
    }
  }
  return undefined;
}

function pathTo(end: number, cameFrom: ReadonlyMap<number, number>): number[] {
  const path = [end];
  for (let at = cameFrom.get(end); at !== undefined; at = cameFrom.get(at)) path.unshift(at);
  return path;
}

/** The operation in which most ranks wait for ranks of which `isCause` holds; of equals the oldest. */
function mainBlockade(waits: Waits, isCause: (rank: number) => boolean): Blockade | undefined {
  const blockades = new Map<string, { waits: RankWait[]; causes: Set<number> }>();
  for (const wait of waits.values()) {
    const causes = wait.absent.filter(isCause);
    if (causes.length === 0) continue;
    const { kind, sequence } = wait.operation;
    const own = isPointToPoint(kind) ? ` ${wait.rank}` : '';
    const key = `${wait.group.name} ${wait.group.instance} ${wait.group.ranks.join(',')} ${sequence}${own}`;
    const blockade = blockades.get(key) ?? { waits: [], causes: new Set() };
    blockade.waits.push(wait);
    for (const rank of causes) blockade.causes.add(rank);
    blockades.set(key, blockade);
  }
  const since = (waits: readonly RankWait[]) => waits.reduce((least, { operation }) => Math.min(least, operation.postedMs), Infinity);
  const main = [...blockades.values()].sort((a, b) => b.waits.length - a.waits.length || since(a.waits) - since(b.waits))[0];
  return main && { waits: main.waits, causes: [...main.causes].sort((a, b) => a - b) };
}

/** `allReduce#43 f32[1024] on group dp (ranks 0-3), in which ranks 0-2 wait` */
function blockedText(waits: Waits, blockade: Blockade): string {
  const ranks = blockade.waits.map(({ rank }) => rank);
  const { operation, group } = blockade.waits[0] as RankWait;
  const end = isPointToPoint(operation.kind) ? 'the other end of ' : '';
  const where = `${end}${describeOperation(operation)} on ${describeGroup(group)}`;
  return `${where}, in which ${ranksText(ranks)} ${verb(ranks, 'waits', 'wait')}${behindThem(waits, blockade)}`;
}

/** Ranks that wait for those of the blockade, in other operations. */
function behindThem(waits: Waits, blockade: Blockade): string {
  const held = new Set(blockade.waits.map(({ rank }) => rank));
  const direct = held.size;
  for (let grew = true; grew; ) {
    grew = false;
    for (const { rank, absent } of waits.values()) {
      if (held.has(rank) || !absent.some((other) => held.has(other))) continue;
      held.add(rank);
      grew = true;
    }
  }
  const behind = [...held].slice(direct);
  return behind.length === 0 ? '' : `, and behind ${direct === 1 ? 'it' : 'them'} ${ranksText(behind)}`;
}

/** What a rank does instead. */
function whereabouts(merged: MergedRecords, rank: number): string {
  const record = merged.records.get(rank);
  if (record === undefined) return 'left no record';
  const inHand = operationInHand(record);
  const last = record.operations.filter(({ state }) => state === 'completed').at(-1);
  const group = (id: number) => merged.groupsOfRank.get(rank)?.get(id)?.name ?? '';
  if (inHand !== undefined) return `has posted ${describeOperation(inHand)} on group ${group(inHand.group)} and does not wait for it`;
  if (last === undefined) return 'has called no operation yet';
  return `is in no operation; the last it completed is ${describeOperation(last)} on group ${group(last.group)}`;
}
