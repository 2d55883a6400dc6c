import type { Turn } from './contestant.ts';
import type { Row } from './report.ts';
import { isUndisturbed, quietRounds } from './rounds.ts';
import { median, medianInterval } from './statistics.ts';

/** One turn of ours and one of the peer's. */
export type Pair = readonly [ours: Turn, peer: Turn];

/** A measure of a turn. */
export interface Measure {
  /** Its unit. */
  readonly unit: string;
  /** Reads it from a turn. */
  readonly of: (turn: Turn) => number;
}

/** Wall time of a turn. */
export const turnTime: Measure = { unit: 'ms', of: ({ ms }) => ms };

/** The turn's value, where that is a time per operation. */
export const perOperation = (unit: string): Measure => ({ unit, of: ({ value }) => value });

/** The pairs that are counted: undisturbed ones, or all where there is none. */
export function countedPairs(all: readonly Pair[]): readonly Pair[] {
  return quietRounds(all);
}

/** Medians of both sides and of their ratio, with its interval; told on standard error as soon as it is known. */
export function comparisonRow(name: string, all: readonly Pair[], { unit, of }: Measure): Row {
  const pairs = countedPairs(all);
  const ratios = pairs.map(([ours, peer]) => of(peer) / of(ours));
  const { low, high } = medianInterval(ratios);
  const undisturbed = all.filter((pair) => pair.every(isUndisturbed)).length;
  const row = {
    name,
    unit,
    ours: median(pairs.map(([ours]) => of(ours))),
    peer: median(pairs.map(([, peer]) => of(peer))),
    ratio: median(ratios),
    ratioLow: low,
    ratioHigh: high,
    pairs: undisturbed,
    leftOut: all.length - undisturbed,
  };
  process.stderr.write(`bench: ${name}: ${row.ratio.toFixed(2)}, ${row.pairs} pairs, ${row.leftOut} left out\n`);
  return row;
}

/** Of rounds with several peers, the pairs of ours, who plays first, and the peer number `at`. */
export function pairsWith(at: number, rounds: readonly (readonly Turn[])[]): Pair[] {
  return rounds.map((round) => [round[0], round[at + 1]] as [Turn, Turn]);
}
