import { observeRanks, type RankOutcome } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LoneRank } from './ranks/one-rank.ts';

let polite: RankOutcome<LoneRank> | undefined;
let obstinate: RankOutcome<LoneRank> | undefined;

beforeAll(async () => {
  [polite, obstinate] = await observeRanks<LoneRank>(2, new URL('ranks/one-rank.ts', import.meta.url), 'beAlone');
});

describe('a rank alone', () => {
  it('names a module that is used before initialize', () => {
    expect(polite?.value?.beforeInitialize).toBe('ParallelMLP: used before initialize. Call initialize(ctx) on the model first.');
  });

  it('refuses a batch that does not fall into microbatches', () => {
    expect(polite?.value?.indivisibleBatch).toMatch(/globalBatchSize 16 is not divisible by microbatchSize 3 .*= 3\. Use 15 or 18\./);
  });

  it('warns of a loss that is not a number, with the step', () => {
    expect(polite?.stderr).toMatch(/^runSchedule: step 7: the loss over 8 tokens is NaN\. /m);
  });

  it('finishes the step under way when SIGTERM comes into a loop that never yields, and exits well', () => {
    expect(polite).toMatchObject({ code: 0, signal: null, value: { stopRequested: true } });
    expect(polite?.value?.ended).toBe(polite?.value?.begun);
    expect(polite?.value?.ended).toBeGreaterThan(0);
  });

  it('ends at once at a second signal', () => {
    expect(obstinate).toMatchObject({ code: 128 + 15, value: undefined });
  });
});
