import { readdirSync } from 'node:fs';
import { observeRanks, type RankOutcome } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { patienceMs } from './patience.ts';
import { limitMs, type Survivor, type Told } from './ranks/failing-worlds.ts';

const size = 3;
let outcomes: RankOutcome<Survivor>[];

beforeAll(async () => {
  outcomes = await observeRanks<Survivor>(size, new URL('ranks/failing-worlds.ts', import.meta.url), 'walkFailingWorlds');
});

/** What the ranks tell. */
function survivors(): { readonly rank: number; readonly saw: Survivor }[] {
  return outcomes.map(({ rank, value, error, stderr }) => {
    if (value === undefined) throw new RangeError(`rank ${rank} did not survive: ${error?.message ?? stderr}`);
    return { rank, saw: value };
  });
}

function expectTold(
  error: Told | undefined,
  { code, says, withinMs = patienceMs }: { readonly code: string; readonly says: RegExp; readonly withinMs?: number },
): void {
  expect(error).toMatchObject({ code, message: expect.stringMatching(says) });
  expect(error?.waitedMs).toBeLessThan(withinMs);
}

describe('sizes that do not fit', () => {
  it('a product that does not divide the world', () => {
    for (const { saw } of survivors())
      expectTold(saw.sizes.product, { code: 'INDIVISIBLE', says: /tensor 2 x pipeline 1 = 2 does not divide the world size 3/ });
  });

  it('heads that do not divide by the tensor-parallel ranks', () => {
    for (const { saw } of survivors())
      expectTold(saw.sizes.heads, {
        code: 'INDIVISIBLE',
        says: /numAttentionHeads 4 is not divisible by tensorModelParallelSize 3\. Use 1, 2 or 4/,
      });
  });

  it('layers that do not divide by the stages', () => {
    for (const { saw } of survivors()) expectTold(saw.sizes.layers, { code: 'INDIVISIBLE', says: /4 layers|numLayers 4/ });
  });

  it('a rank that believes in a world of another size, or stands beyond its own', () => {
    const [first, , third] = survivors();
    expectTold(first?.saw.contradiction, { code: 'TIMEOUT', says: /missing: rank 2/, withinMs: limitMs + patienceMs });
    expect(third?.saw.contradiction.code).toBe('JOIN_FAILED');
    expect(third?.saw.contradiction.message).toMatch(/rank 2 expects a world of 4 and rank 0 one of 3\. Give all ranks one WORLD_SIZE\./);
    for (const { saw } of survivors()) expectTold(saw.beyondWorld, { code: 'OUT_OF_RANGE', says: /rank 3 of 3/ });
  });
});

describe('a rank that never joins', () => {
  it('is named', () => {
    const [first] = survivors();
    expectTold(first?.saw.notJoined, { code: 'TIMEOUT', says: /2 of 3 ranks joined .* missing: rank 2/, withinMs: limitMs + patienceMs });
  });
});

describe('the end of a world', () => {
  it('comes after the step in which one rank was asked to stop, on all of them', () => {
    for (const { saw } of survivors()) expect(saw.stoppedAfter).toBe(3);
    for (const { code } of outcomes) expect(code).toBe(0);
  });

  it('leaves nothing in shared memory, where a world has no name from the moment its ranks have met', () => {
    for (const { saw } of survivors()) expect(saw.sharedMemory).toEqual([]);
    expect(readdirSync('/dev/shm').filter((name) => name.startsWith(`megatron-run-${process.pid}-`))).toEqual([]);
  });
});
