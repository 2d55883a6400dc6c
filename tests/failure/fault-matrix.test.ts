import { observeRanks, type RankOutcome } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Fault, faults, numRanks } from './fault-table.ts';
import { patienceMs } from './patience.ts';
import type { Line } from './ranks/fault-matrix.ts';

const last = faults.length - 1;

/** Ranks of the world of fault `index`. */
function sizeOfWorld(index: number): number {
  return numRanks - faults.slice(0, index).filter(isFatal).length;
}

function isFatal({ name }: Fault): boolean {
  return name === 'left' || name === 'killed';
}

/** The sentence without the place of the rank that tells it. */
function sentenceOf({ message }: Line): string | undefined {
  return message?.replace(/^rank \d+ \([^)]*\): /, '');
}

describe.each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('ranks that are $kind', ({ inProcess }) => {
  let outcomes: RankOutcome<void>[];
  let lines: Line[];
  const cases = faults.map((fault, index) => ({ fault, index, title: `${fault.name}, by rank ${fault.culprit}` }));

  beforeAll(async () => {
    outcomes = await observeRanks<void>(numRanks, new URL('ranks/fault-matrix.ts', import.meta.url), 'walkFaults', { inProcess });
    const printed = outcomes.flatMap(({ stdout }) => stdout.split('\n')).filter((line) => line.startsWith('{'));
    lines = printed.map((line) => JSON.parse(line) as Line);
  });

  it.each(cases.filter(({ fault }) => !inProcess || !(fault.needsProcess ?? false)))('$title: all others are told', ({ fault, index }) => {
    const { culprit, code, culprits = [culprit], says, withinMs = 0 } = fault;
    const own = lines.filter((line) => line.fault === index);
    const begun = own.find(({ rank, to }) => rank === culprit && to === undefined)?.from ?? Number.NaN;
    const told = own.filter(({ to }) => to !== undefined);
    const isSurvivor = (rank: number) => rank !== culprit || !isFatal(fault);
    const ranks = Array.from({ length: sizeOfWorld(index) }, (_, rank) => rank);
    expect(told.map(({ rank }) => rank).sort()).toEqual(ranks.filter(isSurvivor));
    for (const line of told) {
      expect({ code: line.code, culprits: line.culprits }).toEqual({ code, culprits: code === undefined ? undefined : culprits });
      if (code === undefined) continue;
      expect(sentenceOf(line)).toMatch(says);
      expect(sentenceOf(line)).toBe(sentenceOf(told[0] as Line));
      if (line.rank !== culprit) expect((line.to ?? Number.NaN) - Math.max(begun, line.from)).toBeLessThan(withinMs + patienceMs);
    }
  });

  it('are warned of one that is late, by its name, and go on', () => {
    const late = faults.find(({ name }) => name === 'late');
    for (const { rank, stderr } of inProcess ? [] : outcomes) // the engine's own words are not a thread's
      if (rank !== late?.culprit) expect(stderr).toMatch(late?.says ?? /^$/);
    expect(lines.filter(({ fault, to }) => faults[fault] === late && to !== undefined)).toHaveLength(numRanks);
  });

  it('end with status 1 when nothing catches the failure, and with 0 when they left well', () => {
    const survivors = outcomes.slice(1, sizeOfWorld(last));
    expect(survivors).toHaveLength(3);
    for (const { code, signal, error } of survivors)
      expect({ code, signal, error }).toMatchObject({ code: 1, signal: null, error: { name: 'ProcessGroupError', code: 'PEER_LOST' } });
    expect(outcomes[5]).toMatchObject({ code: 0, signal: null });
    const dead = inProcess ? { code: 1, error: { message: 'the disk is full' } } : { code: null, signal: 'SIGKILL' };
    for (const rank of [0, 4]) expect(outcomes[rank]).toMatchObject(dead);
  });
});
