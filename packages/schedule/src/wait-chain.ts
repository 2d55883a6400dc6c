/** Who waits for whom when nothing moves any more: the sentence under every deadlock. */

/** What a stuck rank is doing, and the rank it waits for. */
export interface Wait {
  /** Index of the action at which the rank stands. */
  readonly action: number;
  /** The action in words. */
  readonly doing: string;
  /** The rank it waits for. */
  readonly peer: number;
}

/** A closed or open chain of waits. */
export interface WaitChain {
  /** The rank and the action the chain begins with. */
  readonly rank: number;
  readonly action: number;
  /** The whole chain in words, without a full stop. */
  readonly words: string;
}

/**
 * Follows the waits from the lowest stuck rank until they close a cycle or end at a rank which has nothing left to do; tells the cycle
 * alone if there is one.
 */
export function waitChain(waits: ReadonlyMap<number, Wait>): WaitChain | undefined {
  const start = [...waits.keys()].sort((a, b) => a - b)[0];
  if (start === undefined) return undefined;
  const path: number[] = [];
  let rank = start;
  while (waits.has(rank) && !path.includes(rank)) {
    path.push(rank);
    rank = (waits.get(rank) as Wait).peer;
  }
  const isCycle = path.includes(rank);
  const told = isCycle ? path.slice(path.indexOf(rank)) : path;
  const first = told[0] as number;
  const links = told.map((at) => {
    const { action, doing, peer } = waits.get(at) as Wait;
    return `rank ${at} at action ${action} (${doing}) waits for rank ${peer}`;
  });
  const end = isCycle ? '' : `, and rank ${rank} has nothing left to do`;
  return { rank: first, action: (waits.get(first) as Wait).action, words: links.join(', ') + end };
}
