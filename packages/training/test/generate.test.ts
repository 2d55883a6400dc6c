import { initializeModelParallel } from '@megatron-ts/process-groups';
import { evaluate, memoryStats, tensor } from '@megatron-ts/tensor';
import { runRanks } from '@megatron-ts/testing';
import { generate } from '@megatron-ts/training';
import { GPTModel } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { generateText, type Text } from './ranks/generate-text.ts';

describe('generate', () => {
  it('gives the same text on two stages of two tensor ranks as on one rank, and on every rank', async () => {
    const sizes = { pipelineModelParallelSize: 2, tensorModelParallelSize: 2 };
    const ranks = await runRanks<Text>(4, new URL('ranks/generate-text.ts', import.meta.url), 'generateText', { args: [sizes] });
    const alone = await generateText({});
    for (const text of ranks) expect(text).toEqual(alone);
    expect(alone.drawn).not.toEqual(alone.greedy);
    expect(alone.otherSeed).not.toEqual(alone.drawn);
    expect(alone.long).toHaveLength(23);
    expect([...alone.long.subarray(0, 3)]).toEqual([3, 1, 4]);
  });

  it('takes the likeliest token at temperature 0, of the last contextLength tokens', async () => {
    await using ctx = await initializeModelParallel({ seed: 5 });
    const config = { vocabSize: 11, maxSequenceLength: 4, hiddenSize: 8, numLayers: 1, numAttentionHeads: 2, initStd: 0.5 };
    const model = new GPTModel({ ...config, ctx }).initialize(ctx);
    const text = [...generate({ ctx, model, prompt: [1, 2], numTokens: 6, contextLength: 4, temperature: 0 })];
    const live = memoryStats().liveHandles;
    for (let n = 2; n < text.length; n++) {
      const window = text.slice(Math.max(0, n - 4), n);
      const logits = evaluate(() => [...model.logits(tensor(Int32Array.from(window), [window.length, 1])).toArray()].slice(-11));
      expect(text[n]).toBe(logits.indexOf(Math.max(...logits)));
    }
    expect(memoryStats().liveHandles).toBe(live);
    model.dispose();
  });
});
