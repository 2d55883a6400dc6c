import { runRanks } from '@megatron-ts/testing';
import { savedActivations } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import type { KeptBytes } from './ranks/saved-activations.ts';

const sizes = { sequenceLength: 2048, batchSize: 1, hiddenSize: 12288, numAttentionHeads: 96, paramDType: 'bf16' } as const;
const sbh = 2048 * 12288;

/** Bytes over s · b · h of what is on the list, the small statistics of norms and softmax left out. */
function perToken(options: Partial<Parameters<typeof savedActivations>[0]>): number {
  const large = savedActivations({ ...sizes, ...options }).filter(({ name }) => !/statistics|log-sum-exp/.test(name));
  return large.reduce((sum, { bytes }) => sum + bytes, 0) / sbh;
}

describe('what a layer keeps for backward', () => {
  it('is what is on the list, to the byte, on 1, 2 and 4 ranks, with and without a cut sequence and parts made again', async () => {
    const worlds = await runRanks<KeptBytes[]>(4, new URL('ranks/saved-activations.ts', import.meta.url), 'keptBytes');
    for (const kept of worlds) {
      expect(kept).toHaveLength(3 * 2 * 3 * 3);
      expect(kept.filter(({ measured, listed }) => measured !== listed)).toEqual([]);
    }
  });

  it('is that of the paper less the masks of dropout: 8 + 24/t without and 32/t with sequence parallelism', () => {
    for (const t of [1, 2, 4, 8]) {
      expect(perToken({ tensorModelParallelSize: t })).toBe(8 + 24 / t);
      expect(perToken({ tensorModelParallelSize: t, sequenceParallel: true })).toBe(32 / t);
    }
    expect(perToken({ recompute: ['coreAttention', 'activation', 'norm'] })).toBe(32 - 2 - 8 - 4);
  });

  it('is refused parts that do not exist', () => {
    const recompute = ['mlp'] as unknown as ['norm'];
    expect(() => savedActivations({ ...sizes, recompute })).toThrow('savedActivations: recompute names "mlp".');
  });
});
