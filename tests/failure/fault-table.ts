/** How long an operation may take in worlds in which a rank stays away. */
export const limitMs = 1500;

/** When such a wait is warned about. */
export const slowMs = 300;

/** What one rank does wrong, and what all others are told of it. */
export interface Fault {
  readonly name: 'kind' | 'count' | 'dtype' | 'group' | 'branch' | 'late' | 'absent' | 'stopped' | 'left' | 'killed';
  /** Where in the step: before or instead of this operation. */
  readonly operation: 'tp' | 'dp' | 'world';
  /** The rank that does it, by its number in a world of those that still live. */
  readonly culprit: number;
  /** Where the others succeed there is none. */
  readonly code: 'MISMATCH' | 'PEER_LOST' | 'TIMEOUT' | undefined;
  /** Ranks that are named, where they are not the culprit alone. */
  readonly culprits?: readonly number[];
  /** What the one sentence says. */
  readonly says: RegExp;
  /** When it must be known at the latest, in milliseconds from the fault; at once when absent. */
  readonly withinMs?: number;
  /** Whether threads cannot do it. */
  readonly needsProcess?: boolean;
}

/** How many ranks the walk through all faults begins with. */
export const numRanks = 6;

/** The faults, in the order in which one set of ranks goes through them: those that cost a rank come last, and rank 0 at the very end. */
export const faults: readonly Fault[] = [
  {
    name: 'kind',
    operation: 'world',
    culprit: 2,
    code: 'MISMATCH',
    says: /mismatch on group world: rank 2 called barrier#\d+ .* while rank 0 called allReduce#\d+ f32\[4\] \(loss\)/,
  },
  {
    name: 'count',
    operation: 'world',
    culprit: 4,
    code: 'MISMATCH',
    says: /rank 4 called allReduce#\d+ f32\[5\] \(loss\) while rank 0 called allReduce#\d+ f32\[4\] \(loss\)/,
  },
  {
    name: 'dtype',
    operation: 'world',
    culprit: 5,
    code: 'MISMATCH',
    says: /rank 5 called allReduce#\d+ i32\[4\] \(loss\) while rank 0 called allReduce#\d+ f32\[4\] \(loss\)/,
  },
  {
    name: 'branch',
    operation: 'world',
    culprit: 0,
    code: 'MISMATCH',
    says: /rank 0 called allReduce#\d+ f32\[1\] \(only on one rank\) while rank 1 called allReduce#\d+ f32\[4\] \(loss\)/,
  },
  {
    name: 'group',
    operation: 'tp',
    culprit: 1,
    code: 'MISMATCH',
    culprits: [0, 1, 3],
    says: /rank 0 waits for rank 1 in allReduce#\d+ f32\[4\] \(layer\) on group tp.*: they wait for each other/,
    withinMs: limitMs,
  },
  {
    name: 'late',
    operation: 'world',
    culprit: 3,
    code: undefined,
    says: /in allReduce#\d+ f32\[4\] \(loss\) on group world: rank 3 \(pid \d+, alive\) never joined; .*It fails after 60 s/,
  },
  {
    name: 'absent',
    operation: 'world',
    culprit: 3,
    code: 'TIMEOUT',
    says: new RegExp(
      `waited ${limitMs} ms in allReduce#\\d+ f32\\[4\\] \\(loss\\) on group world: rank 3 \\(pid \\d+, alive\\) never joined`,
    ),
    withinMs: limitMs,
  },
  {
    name: 'stopped',
    operation: 'world',
    culprit: 2,
    code: 'TIMEOUT',
    says: /rank 2 \(pid \d+, alive\) never joined/,
    withinMs: limitMs,
    needsProcess: true,
  },
  {
    name: 'left',
    operation: 'dp',
    culprit: 5,
    code: 'PEER_LOST',
    says: /rank 5 \(pid \d+\) left the world while rank \d was in allReduce/,
  },
  { name: 'killed', operation: 'dp', culprit: 4, code: 'PEER_LOST', says: /rank 4 \(pid \d+\) exited while rank \d was in allReduce/ },
  { name: 'killed', operation: 'dp', culprit: 0, code: 'PEER_LOST', says: /rank 0 \(pid \d+\) exited while rank \d was in allReduce/ },
];
