import type { FlightRecord } from '@megatron-ts/flight-recorder';
import { observeRanks, runRanks } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import type { Told } from './ranks/failing-ranks.ts';

const module = new URL('ranks/failing-ranks.ts', import.meta.url);

describe.each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('ranks that are $kind', ({ inProcess }) => {
  it('are told who called another operation', async () => {
    for (const { code, message } of await runRanks<Told>(3, module, 'callOtherOperations', { inProcess })) {
      expect(code).toBe('MISMATCH');
      expect(message).toMatch(/rank 1 called barrier.*while rank 0 called allReduce/);
    }
  });

  it('are told who brought another size', async () => {
    for (const { code, message, culprits } of await runRanks<Told>(3, module, 'bringOtherSizes', { inProcess })) {
      expect({ code, culprits }).toEqual({ code: 'MISMATCH', culprits: [1] });
      expect(message).toMatch(/rank 1 called allReduce.*f32\[2\].*while rank 0 called allReduce.*f32\[1\]/);
    }
  });

  it('are told whom they lost', async () => {
    const outcomes = await observeRanks<Told>(3, module, 'loseOne', { inProcess });
    expect(outcomes[1]).toMatchObject({ code: 1, error: { name: 'RangeError', message: 'the disk is full' } });
    for (const rank of [0, 2]) expect(outcomes[rank]?.value).toMatchObject({ code: 'PEER_LOST', culprits: [1] });
  });

  it('fail together with the one that failed first', async () => {
    await expect(runRanks(3, module, 'loseOne', { inProcess })).rejects.toThrow(
      'runRanks: loseOne: rank 1 failed with exit code 1: RangeError: the disk is full',
    );
  });

  it('are ended at the deadline of their test even when all of them wait', async () => {
    const run = runRanks(2, module, 'waitForEachOther', { inProcess, timeoutMs: 6000 });
    await expect(run).rejects.toThrow('runRanks: waitForEachOther: rank 0, 1 still ran after 6000 ms.');
  });

  it.each(['wait', 'settled', 'group', 'context'])('keep the deadline of one operation (%s)', async (how) => {
    const [hasty, away] = await runRanks<Told>(2, module, 'stayAway', { inProcess, args: [how] });
    expect(hasty).toMatchObject({ code: 'TIMEOUT', message: expect.stringMatching(/^rank 0 waited \d+ ms in allReduce.*on group aside/) });
    expect(hasty?.waitedMs).toBeGreaterThan(290);
    expect(away).toMatchObject({ code: 'TIMEOUT', message: hasty?.message });
  });

  it('keep a flight record', async () => {
    const records = await runRanks<FlightRecord>(2, module, 'tellRecord', { inProcess });
    records.forEach((record, rank) => {
      expect(record).toMatchObject({
        rank,
        worldSize: 2,
        backend: inProcess ? 'sim' : 'shm',
        reason: 'request',
        failure: null,
        dropped: 0,
      });
      const [world, pair] = ['world', 'pair'].map((name) => record.groups.find((group) => group.name === name));
      expect([world?.ranks, pair?.ranks]).toEqual([
        [0, 1],
        [1, 0],
      ]);
      expect(record.operations).toMatchObject([
        { group: world?.id, sequence: 1, kind: 'allReduce', dtype: 'f32', count: 3, op: 'sum', label: 'first', state: 'completed' },
        { group: pair?.id, sequence: 1, kind: 'barrier', dtype: null, state: 'completed' },
      ]);
    });
  });

  it('compare the world they state with the one they were started in', async () => {
    expect(await runRanks<string>(2, module, 'stateSize', { inProcess, args: [2] })).toEqual(['joined 2', 'joined 2']);
    const sentences = await runRanks<string>(2, module, 'stateSize', { inProcess, args: [4] });
    expect(sentences).toEqual(
      [0, 1].map(
        (rank) =>
          `CONTRADICTION initializeModelParallel: worldSize 4 contradicts the launcher: torchrun says that this is rank ${rank} of 2. Leave it out, or start 4 ranks with megatron-ts run --ranks 4.`,
      ),
    );
  });
});

describe('threads', () => {
  it('can be many', async () => {
    const sums = await runRanks<readonly number[]>(8, module, 'sumRanks', { inProcess: true });
    expect(sums).toEqual(Array.from({ length: 8 }, () => [8, 28]));
  });

  it('leave nothing behind that would disturb the next world', async () => {
    for (let round = 0; round < 3; round++)
      expect(await runRanks(2, module, 'sumRanks', { inProcess: true })).toEqual([
        [2, 1],
        [2, 1],
      ]);
  });
});
