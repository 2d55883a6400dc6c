import { readdirSync } from 'node:fs';
import { observeRanks, type RankOutcome } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { limitMs, type Survivor, type Told } from './ranks/failing-worlds.ts';

const size = 3;
const patienceMs = 1000;
let outcomes: RankOutcome<Survivor>[];

beforeAll(async () => {
  outcomes = await observeRanks<Survivor>(size, new URL('ranks/failing-worlds.ts', import.meta.url), 'walkFailingWorlds');
});

/** What the ranks that live to the end tell. */
function survivors(): { readonly rank: number; readonly saw: Survivor }[] {
  return [0, 2].map((rank) => {
    const outcome = outcomes[rank];
    if (outcome?.value === undefined) throw new RangeError(`rank ${rank} did not survive: ${outcome?.error?.message ?? outcome?.stderr}`);
    return { rank, saw: outcome.value };
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
    const [first, third] = survivors();
    expectTold(first?.saw.contradiction, { code: 'TIMEOUT', says: /missing: rank 2/, withinMs: limitMs + patienceMs });
    expect(third?.saw.contradiction.code).toBe('JOIN_FAILED');
    expect(third?.saw.contradiction.message).toMatch(/rank 2 expects a world of 4 and rank 0 one of 3\. Give all ranks one WORLD_SIZE\./);
    for (const { saw } of survivors()) expectTold(saw.beyondWorld, { code: 'OUT_OF_RANGE', says: /rank 3 of 3/ });
  });
});

describe('every survivor names the culprit', () => {
  it('when a rank gives another size to a collective', () => {
    for (const { saw } of survivors())
      expectTold(saw.otherSize, {
        code: 'MISMATCH',
        says: /mismatch on group world: rank 2 called allReduce.*f32\[5\].* while rank 0 called allReduce.*f32\[4\]/,
      });
  });

  it('when a rank calls another collective', () => {
    for (const { saw } of survivors())
      expectTold(saw.otherOperation, { code: 'MISMATCH', says: /rank 1 called barrier.* while rank 0 called broadcast/ });
  });

  it('when a rank never arrives', () => {
    for (const { rank, saw } of survivors()) {
      expect(saw.absent.message).toMatch(/rank 2 \(pid \d+, alive\)/);
      if (rank !== 2) expectTold(saw.absent, { code: 'TIMEOUT', says: /waited 1000 ms in allReduce/, withinMs: limitMs + patienceMs });
    }
  });

  it('when a rank never joins', () => {
    const [first] = survivors();
    expectTold(first?.saw.notJoined, { code: 'TIMEOUT', says: /2 of 3 ranks joined .* missing: rank 2/, withinMs: limitMs + patienceMs });
  });

  it('when a rank dies', () => {
    for (const { saw } of survivors())
      expectTold(saw.lost, { code: 'PEER_LOST', says: /rank 1 \(pid \d+\) exited while rank [02] was in allReduce/ });
    expect(outcomes[1]).toMatchObject({ signal: 'SIGKILL', value: undefined });
  });
});

describe('the end of a world', () => {
  it('comes after the step in which one rank was asked to stop, on all of them', () => {
    for (const { saw } of survivors()) expect(saw.stoppedAfter).toBe(3);
    for (const rank of [0, 2]) expect(outcomes[rank]?.code).toBe(0);
  });

  it('leaves nothing in shared memory, where a world has no name from the moment its ranks have met', () => {
    for (const { saw } of survivors()) expect(saw.sharedMemory).toEqual([]);
    expect(readdirSync('/dev/shm').filter((name) => name.startsWith(`megatron-run-${process.pid}-`))).toEqual([]);
  });
});
