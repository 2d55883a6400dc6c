import { describe, expect, it } from 'vitest';
import { observeRanks, runRanks } from '@megatron-ts/testing';

const greetings = new URL('./ranks/greetings.ts', import.meta.url);

describe('runRanks', () => {
  it('calls the function on every rank and returns the values in the order of ranks, with their types', async () => {
    const values = await runRanks<{ text: string; numbers: Float32Array }>(2, greetings, 'introduce', { args: ['hello'] });
    expect(values.map(({ text }) => text)).toEqual(['hello 0 of 2', 'hello 1 of 2']);
    expect(values[1]?.numbers).toEqual(Float32Array.of(1, 0.1));
  });

  it('ends all ranks at the first failure, and says what it was', async () => {
    await expect(runRanks(2, greetings, 'failFirst')).rejects.toThrow(
      expect.objectContaining({
        code: 'RANK_FAILED',
        message: expect.stringContaining('runRanks: failFirst: rank 0 failed with exit code 1: RangeError: the disk is full'),
      }),
    );
  });

  it('ends ranks that never yield when the deadline has passed, and names them', async () => {
    await expect(runRanks(1, greetings, 'spin', { timeoutMs: 1500 })).rejects.toThrow(
      expect.objectContaining({ code: 'TIMEOUT', message: 'runRanks: spin: rank 0 still ran after 1500 ms.' }),
    );
  });

  it('names the exports of a module that lacks the function', async () => {
    await expect(runRanks(1, greetings, 'missing')).rejects.toThrow(
      'exports no function missing, but failFirst, failFirstThenReturn, introduce, spin. Export it.',
    );
  });
});

describe('observeRanks', () => {
  it('lets the others run on after a failure, and tells how each fared', async () => {
    const outcomes = await observeRanks<number>(2, greetings, 'failFirstThenReturn');
    expect(outcomes[0]).toMatchObject({
      rank: 0,
      value: undefined,
      code: 1,
      signal: null,
      error: { name: 'RangeError', message: 'the disk is full' },
    });
    expect(outcomes[0]?.stderr).toContain('RangeError: the disk is full');
    expect(outcomes[1]).toMatchObject({ rank: 1, value: 1, code: 0, error: undefined });
  });
});
